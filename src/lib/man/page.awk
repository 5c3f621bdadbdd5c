# Makes a manual page of a group of functions: of what vfsdax.h says of them, and of the program that is its example.
#
#   awk -v version=X.Y.Z -f page.awk vfsdax_GROUP.c vfsdax.h >vfsdax_GROUP.3
#
# The program's head is a comment with, a line each, "NAME - what they do", "functions:" (those of the page), "shows:"
# (types and constants that it explains), "see also:", "example:" (what the program does, and how it is run), and after an
# empty line what is to be said of all of them. The text of each function, with its errors, is its comment in the header.

function fail(why) { print FILENAME ": " why >"/dev/stderr"; failed = 1; exit 1 }

# ---- text to roff

# What matches `re` in `s` becomes `before` part `after`; the match itself is cut by `skip` at both ends.
function mark(s, re, before, after, skip,    out, word) {
	out = ""
	while (match(s, re)) {
		word = substr(s, RSTART + skip, RLENGTH - 2 * skip)
		out = out substr(s, 1, RSTART - 1) before word after
		s = substr(s, RSTART + RLENGTH)
	}
	return out s
}
function line_of(s,    out, word, rest) {
	gsub(/\\/, "\\e", s)
	gsub(/-/, "\\-", s)
	s = mark(s, "[`][^`]+[`]", "\\fI", "\\fR", 1)
	s = mark(s, "[*][a-z]+[*]", "\\fI", "\\fR", 1)
	s = mark(s, "VFSDAX_[A-Z_]+[A-Z]", "\\fB", "\\fR", 0)
	# functions of this page, of others, and pages of other sections
	out = ""
	while (match(s, /[a-z_][a-z_0-9]*(\\-[a-z]+)?\(([0-9])?\)/)) {
		word = substr(s, RSTART, RLENGTH)
		rest = word
		sub(/\(.*/, "", word)
		sub(/.*\(/, "(", rest)
		if (rest == "()" && word ~ /^vfsdax_/ && !(word in wanted))
			rest = "(3)"
		out = out substr(s, 1, RSTART - 1) "\\fB" word "\\fR" rest
		s = substr(s, RSTART + RLENGTH)
	}
	s = out s
	return s ~ /^[.']/ ? "\\&" s : s
}
# A paragraph of "-EX: why; -EY: why." as a list.
function error_list(s,    n, part, i, out, name, why) {
	n = split(s, part, /; +-E/)
	out = ""
	for (i = 1; i <= n; i++) {
		sub(/^-?E?/, "", part[i])
		sub(/[.]$/, "", part[i])
		match(part[i], /^[A-Z]+(, -E[A-Z]+)*/)
		name = substr(part[i], 1, RLENGTH)
		why = substr(part[i], RLENGTH + 1)
		sub(/^:? +/, "", why)
		if (why == "")
			why = "see vfsdax(3)"
		gsub(/, -/, ", \\-", name)
		out = out ".TP\n.B \\-E" name "\n" line_of(toupper(substr(why, 1, 1)) substr(why, 2)) ".\n"
	}
	return out
}
# A comment's lines, joined by "\n". Paragraphs of errors go to errors_of[who] where there is a who.
function text_of(doc, who,    n, line, i, out, begun, listed, errors) {
	n = split(doc, line, "\n")
	out = ""
	begun = 1
	listed = 0
	for (i = 1; i <= n; i++) {
		if (line[i] == "") {
			begun = 0
			if (errors != "")
				errors_of[who] = errors_of[who] error_list(errors)
			errors = ""
			continue
		}
		if (who != "" && (errors != "" || !begun && line[i] ~ /^-E[A-Z]/)) {
			errors = errors (errors == "" ? "" : " ") line[i]
			begun = 1
			continue
		}
		if (line[i] ~ /^- /) {
			out = out ".IP \\(bu 2\n" line_of(substr(line[i], 3)) "\n"
			listed = 1
		} else if (listed && sub(/^  /, "", line[i])) {
			out = out line_of(line[i]) "\n"
		} else {
			out = out (begun && !listed ? "" : ".PP\n") line_of(line[i]) "\n"
			listed = 0
		}
		begun = 1
	}
	if (errors != "")
		errors_of[who] = errors_of[who] error_list(errors)
	return out
}

# The same as the body of a list's item: what is behind its first paragraph is indented.
function item_of(doc,    text) {
	text = text_of(doc)
	return sub(/\n\.[IP]P/, "\n.RS&", text) ? text ".RE\n" : text
}

# Code: tabs to columns of eight, and what roff would read.
function code_of(s,    out, at) {
	out = ""
	while ((at = index(s, "\t")) > 0) {
		out = out substr(s, 1, at - 1)
		s = substr(s, at + 1)
		out = out sprintf("%*s", 8 - length(out) % 8, "")
	}
	out = out s
	gsub(/\\/, "\\e", out)
	gsub(/-/, "\\-", out)
	return (out ~ /^[.']/ ? "\\&" : "") out
}

# ---- a declaration

# In lines of at most 78 characters, names of parameters in italics.
function synopsis_of(decl,    n, part, i, line, out, word) {
	n = split(decl, part, /, /)
	line = ""
	out = ""
	for (i = 1; i <= n; i++) {
		word = part[i] (i < n ? "," : "")
		if (line != "" && length(line) + length(word) + 1 > 76) {
			out = out line "\n"
			line = "        "
		} else if (line != "") {
			line = line " "
		}
		line = line word
	}
	out = out line
	gsub(/-/, "\\-", out)
	line = ""
	while (match(out, /[a-z_]+(\[[0-9]\])?[,)]/)) {
		word = substr(out, RSTART, RLENGTH)
		match(word, /^[a-z_]+/)
		i = RLENGTH
		match(out, /[a-z_]+(\[[0-9]\])?[,)]/)
		line = line substr(out, 1, RSTART - 1)
		if (substr(word, 1, i) == "void")
			line = line word
		else
			line = line "\\fI" substr(word, 1, i) "\\fB" substr(word, i + 1)
		out = substr(out, RSTART + RLENGTH)
	}
	return ".PP\n\\fB" line out "\\fR\n"
}

# ---- the program

NR == FNR {
	if (state == "") {
		if (/^ \* vfsdax/) {
			title = substr($0, 4)
			state = "head"
		}
		next
	}
	if (state == "head" || state == "about") {
		if (/^ \*\/$/) {
			state = "blank"
		} else if (/^ \*$/ && state == "head") {
			state = "about"
		} else if (state == "about") {
			about = about (about == "" ? "" : "\n") substr($0, 4)
		} else if (/^ \* [a-z ]+: /) {
			key = substr($0, 4)
			sub(/:.*/, "", key)
			meta[key] = $0
			sub(/^ \* [a-z ]+: /, "", meta[key])
		} else {
			meta[key] = meta[key] " " substr($0, 4)
		}
		next
	}
	if (state == "blank") {
		state = "code"
		if ($0 == "")
			next
	}
	code = code code_of($0) "\n"
	next
}

# ---- the header

FNR == 1 {
	n_functions = split(meta["functions"], list, / +/)
	for (i = 1; i <= n_functions; i++)
		wanted[list[i]] = 1
	n = split(meta["shows"], list, /, */)
	for (i = 1; i <= n; i++)
		shown[list[i]] = 1
}
/^\/\* ---/ { doc = ""; next }
/^\/\*/ {
	doc = ""
	entry = 0
	in_comment = 1
	sub(/^\/\*\*? ?/, "")
}
in_comment {
	end = sub(/ *\*\/$/, "")
	if (!sub(/^ \*$/, ""))
		sub(/^ ?\*? /, "")
	if (!(doc == "" && $0 == ""))
		doc = doc (doc == "" ? "" : "\n") $0
	if (end) {
		in_comment = 0
		sub(/\n+$/, "", doc)
	}
	next
}
/^$/ { doc = ""; entry = 0; next }
/^VFSDAX_API/ { decl = "" ; in_decl = 1 }
in_decl {
	sub(/^[ \t]+/, "")
	decl = decl (decl == "" ? "" : " ") $0
	if (!/;$/)
		next
	in_decl = 0
	sub(/^VFSDAX_API /, "", decl)
	name = decl
	sub(/\(.*/, "", name)
	sub(/.*[ *]/, "", name)
	if (!(name in wanted))
		next
	delete wanted_missing[name]
	found[name] = 1
	synopsis = synopsis synopsis_of(decl)
	if (!entry) {
		entry = ++n_entries
		entry_doc[entry] = doc
	}
	entry_names[entry] = entry_names[entry] (entry_names[entry] == "" ? "" : " ") name
	next
}
/^struct [a-z_]+ \{|^enum [a-z_]+ \{/ {
	in_type = ($1 " " $2) in shown
	found[$1 " " $2] = 1
	if (in_type && doc != "")
		types = types ".PP\n" text_of(doc)
	if (in_type)
		types = types ".PP\n.in +4n\n.EX\n"
	type_open = 1
}
type_open {
	if (in_type)
		types = types code_of($0) "\n"
	if (/\};$/) {
		if (in_type)
			types = types ".EE\n.in\n"
		type_open = 0
		doc = ""
		entry = 0
	}
	next
}
/^struct [a-z_]+;/ {
	name = $2
	sub(/;/, "", name)
	if (("struct " name) in shown && doc != "") {
		intro = intro ".PP\n" text_of(doc)
		found["struct " name] = 1
	}
	next
}
/^#define VFSDAX_/ {
	if ($2 in shown) {
		found[$2] = 1
		constants = constants ".TP\n.B " $2 "\n" item_of(doc)
	}
	next
}

END {
	if (failed)
		exit 1
	for (i in wanted)
		if (!(i in found))
			fail("vfsdax.h does not declare " i "()")
	for (i in shown)
		if (!(i in found))
			fail("vfsdax.h has no " i)
	if (code == "" || title == "" || meta["example"] == "" || meta["see also"] == "")
		fail("a part of its head is missing")
	name = title
	sub(/ - .*/, "", name)
	what = title
	sub(/.* - /, "", what)
	print ".\\\" SPDX\\-License\\-Identifier: LGPL\\-2.1\\-or\\-later"
	print ".\\\" Made by page.awk of vfsdax.h and " name ".c."
	print ".TH " toupper(name) " 3 \"2026-11-28\" \"vfsdax " version "\" \"Library Functions Manual\""
	names = meta["functions"]
	gsub(/ +/, ", ", names)
	print ".SH NAME\n" names " \\- " what
	print ".SH LIBRARY\nlibvfsdax (\\fB$(pkg\\-config \\-\\-cflags \\-\\-libs vfsdax)\\fR)"
	print ".SH SYNOPSIS\n.nf\n.B #include <vfsdax/vfsdax.h>"
	printf "%s.fi\n.SH DESCRIPTION\n", synopsis
	description = (about == "" ? "" : ".PP\n" text_of(about)) intro
	for (e = 1; e <= n_entries; e++) {
		names = entry_names[e]
		gsub(/ /, "(), ", names)
		description = description ".SS " names "()\n" text_of(entry_doc[e], names "()")
	}
	if (constants != "")
		description = description ".SS Constants\n" constants
	if (types != "")
		description = description ".SS Types\n" types
	sub(/^\.PP\n/, "", description)
	gsub(/\n\.SS [^\n]*\n\.PP\n/, "&\001", description)
	gsub(/\.PP\n\001/, "", description)
	printf "%s", description
	print ".SH RETURN VALUE\nFunctions of type int or ssize_t return 0 or a count, or a negative\n.I errno\nvalue. None sets\n.IR errno ."
	print ".SH ERRORS\nThose that many functions have are in\n.BR vfsdax (3)."
	for (e = 1; e <= n_entries; e++) {
		names = entry_names[e]
		gsub(/ /, "(), ", names)
		if (errors_of[names "()"] != "")
			printf ".SS %s()\n%s", names, errors_of[names "()"]
	}
	print ".SH EXAMPLES\n" line_of(meta["example"])
	printf ".PP\n.in +4n\n.EX\n%s.EE\n.in\n", code
	n = split(meta["see also"], list, /, */)
	print ".SH SEE ALSO\n.BR vfsdax (3),"
	for (i = 1; i <= n; i++) {
		sub(/\(/, " (", list[i])
		print ".BR " list[i] (i < n ? "," : "")
	}
}
