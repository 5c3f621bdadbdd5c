# Puts the counters of the tables (src/bridge/counters.def says what is in a line) into the manual:
#   awk -v out=vfsdax-stat.1 -f counters.awk TABLE... vfsdax-stat.1.in
/^(COUNTER|FAMILY)\(/ { entry = ""; inside = 1 }
inside { entry = entry $0 }
inside && /\)$/ {
	inside = 0
	split(entry, part, "\"")		# part[2] is the name, part[3] begins with the kind
	split(part[3], field, /, */)
	help = ""
	for (i = 4; i in part; i += 2)
		help = help part[i]
	if (part[2] == "" || field[2] !~ /^(counter|gauge|flag|text)$/ || help !~ /\.$/) {
		print FILENAME ":" FNR ": not a counter: " entry >"/dev/stderr"
		failed = 1
	}
	counters = counters ".TP\n.BR " part[2] " \" (" field[2] ")\"\n" help "\n"
	n++
}
FILENAME !~ /\.1\.in$/ { next }
/^@COUNTERS@$/ { printf "%s", counters >out; next }
{ print >out }
END { exit failed || inside || !n }
