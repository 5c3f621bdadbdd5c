# Is this the text format of OpenMetrics 1.0? Says what is wrong, a line each; status 1 then.
#
# The grammar (metadata, samples, label and value syntax, "# EOF") and the rules about families: no line twice, no
# family in two places, names by type and unit, histograms cumulative with a +Inf that is the count.
function wrong(why) { printf "line %d: %s: %s\n", NR, why, $0; bad = 1 }
function begin_family(name) {
	if (name == family) return
	if (name in seen) wrong("the family " name " is in two places")
	seen[name] = 1
	family = name
	samples_begun = 0
}
# The labels of {...}: sets `le`, `others`; returns 0 when they are none.
function labels(text,   name, value, used, n) {
	le = ""; others = ""
	if (text == "") return 1
	for (n = 0; text != ""; n++) {
		if (n && sub(/^,/, "", text) == 0) return 0
		if (!match(text, /^[a-zA-Z_][a-zA-Z0-9_]*="/)) return 0
		name = substr(text, 1, RLENGTH - 2)
		text = substr(text, RLENGTH + 1)
		if (!match(text, /^([^"\\]|\\[n"\\])*"/)) return 0
		value = substr(text, 1, RLENGTH - 1)
		text = substr(text, RLENGTH + 1)
		if (name in used) return 0
		used[name] = 1
		if (name == "le") le = value; else others = others "," name "=" value
	}
	return 1
}
function is_number(v) { return v ~ /^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$/ || v ~ /^[+-]?Inf(inity)?$/ || v == "NaN" }
ended { wrong("behind # EOF") }
$0 == "# EOF" { ended = 1; next }
/^# (TYPE|UNIT|HELP) / {
	begin_family($3)
	if ($3 !~ /^[a-zA-Z_:][a-zA-Z0-9_:]*$/) wrong("not a name")
	if (samples_begun) wrong("metadata behind samples")
	if (($2, $3) in meta) wrong($2 " twice")
	meta[$2, $3] = $4
	if ($2 == "TYPE" && $4 !~ /^(counter|gauge|histogram|gaugehistogram|stateset|info|summary|unknown)$/) wrong("not a type")
	if ($2 == "UNIT" && substr($3, length($3) - length($4)) != "_" $4) wrong("the name does not end with the unit")
	if ($2 == "HELP") {
		text = $0
		sub(/^# HELP [^ ]+ /, "", text)
		if (text !~ /^([^\\]|\\[n"\\])*$/) wrong("a bad escape")
	}
	next
}
/^#/ || /^$/ { wrong("neither metadata nor a sample"); next }
{
	if (!match($0, /^[a-zA-Z_:][a-zA-Z0-9_:]*/)) { wrong("no name"); next }
	name = substr($0, 1, RLENGTH)
	rest = substr($0, RLENGTH + 1)
	if (!match(rest, /^\{.*\} /) && rest !~ /^ /) { wrong("no value"); next }
	list = rest ~ /^ / ? "" : substr(rest, 2, RLENGTH - 3)
	value = rest ~ /^ / ? substr(rest, 2) : substr(rest, RLENGTH + 1)
	if (!labels(list)) wrong("bad labels")
	if (!is_number(value)) wrong("not a number")
	if ((name, list) in sample) wrong("twice")
	sample[name, list] = 1
	type = meta["TYPE", family]
	samples_begun = 1
	suffix = substr(name, length(family) + 1)
	if (family == "" || substr(name, 1, length(family)) != family) wrong("a sample of no family")
	else if (type == "gauge" ? suffix != "" : type == "counter" ? suffix != "_total" : type == "info" ? suffix != "_info" || value != 1 : \
		type == "histogram" ? suffix !~ /^_(bucket|count|sum)$/ : 1) wrong("not the name of a " type)
	if (type == "counter" && value + 0 < 0) wrong("less than nothing")
	if (type == "info" && ("UNIT", family) in meta) wrong("an info with a unit")
	if (suffix == "_bucket" && type == "histogram") {
		if (le == "" || (others == last_others && (value + 0 < last_value || (le != "+Inf" && le + 0 <= last_le + 0)))) wrong("not cumulative")
		last_others = others; last_value = value + 0; last_le = le
		if (le == "+Inf") inf[family, others] = value
	}
	if (suffix == "_count" && inf[family, others] != value) wrong("the count is not that of +Inf")
}
END {
	if (!ended) { print "no # EOF at the end"; bad = 1 }
	exit bad
}
