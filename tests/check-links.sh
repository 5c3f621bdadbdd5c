#!/usr/bin/env bash
# Links in the documents lead somewhere: [text](target), ![text](target) and src="target", relative to the file, and with
# #section to a heading there. Addresses of the web are not looked at, nor what stands in code blocks.
#
#   tests/check-links.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"

# targets FILE: where its links lead
targets() {
	awk '/^ *```/ { code = !code; next } !code' "$1" |
		grep -oE '\]\([^) ]+|(src|href|srcset)="[^"]+' | sed -E 's/^(\]\(|[a-z]+=")//'
}
# sections FILE: its headings as GitHub makes anchors of them
sections() {
	awk '/^ *```/ { code = !code; next } !code && /^#+ /' "$1" |
		sed -E 's/^#+ +//; s/.*/\L&/; s/[^[:alnum:] _-]//g; s/ /-/g'
}

bad=0 links=0
mapfile -t files < <(find . -name '*.md' -not -path './build/*' -not -path '*/.git/*' -printf '%P\n' | sort)
[ ${#files[@]} -gt 0 ] || { echo "check-links.sh: no documents" >&2; exit 1; }
for file in "${files[@]}"; do
	while read -r target; do
		[[ $target =~ ^(https?|mailto): ]] && continue
		links=$((links + 1))
		path=${target%%#*}
		[ -n "$path" ] && path=$(dirname "$file")/$path || path=$file
		if [ ! -e "$path" ]; then
			echo "$file: $target is not there" >&2
		elif [[ $target == *'#'* && $path == *.md ]] && ! sections "$path" | grep -xF -- "${target#*#}" >/dev/null; then
			echo "$file: $target: there is no such section" >&2
		else
			continue
		fi
		bad=1
	done < <(targets "$file")
done
[ "$bad" = 0 ] && echo "${#files[@]} documents, $links links lead somewhere"
exit "$bad"
