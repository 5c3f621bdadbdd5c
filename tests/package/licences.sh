#!/usr/bin/env bash
# Whoever takes a file can see whose it is and what may be done with it: as REUSE wants it, which `reuse lint` confirms
# where it is new enough to read REUSE.toml (4.0; debian.sh has it, too, in the root of Debian 13); and what it does not
# ask: each file in C says so itself, and a program is of one licence with what it links.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bad=0
complain() { echo "$*"; bad=1; }
files() { git ls-files -z --cached --others --exclude-standard -- "$@"; }

# (what is in a comment: a program may speak of such lines)
said=$(files | xargs -0 grep -IhoE '^([#/*.\\" ;-]|<!--)*SPDX-License-Identifier[:] [A-Za-z0-9.+-]+' -- | sed 's/.*: //'
	sed -n 's/^SPDX-License-Identifier = "\(.*\)"/\1/p' REUSE.toml)
while read -r id; do
	[ -s "LICENSES/$id.txt" ] || complain "$id is used, and its text is not in LICENSES/"
done < <(sort -u <<<"$said")
for text in LICENSES/*.txt; do
	id=$(basename "$text" .txt)
	grep -qxF "$id" <<<"$said" || complain "$text: nothing is under that licence"
done
cmp -s LICENSE LICENSES/LGPL-2.1-or-later.txt || complain "LICENSE is another one than LICENSES/LGPL-2.1-or-later.txt"

while IFS= read -r -d '' file; do
	head -n 3 "$file" | grep -q 'SPDX-License-Identifier[:] ' || complain "$file: no SPDX line at its top"
done < <(files '*.c' '*.h')

# libpci is GPL: what includes it, and nothing else, says GPL-2.0-or-later.
gpl=$(files '*.c' '*.h' | xargs -0 grep -lE 'SPDX-License-Identifier[:] GPL-2' -- | sort)
while read -r file; do
	[[ $file == tools/vfsdax-mount/* || $file == tests/unit/claim/* ]] ||
		complain "$file: under the GPL, which only vfsdax-mount and its tests are"
done <<<"$gpl"
while read -r file; do
	grep -qxF "$file" <<<"$gpl" || complain "$file: includes libpci, which is GPL, and does not say GPL-2.0-or-later"
done < <(files '*.c' '*.h' | xargs -0 grep -lE '#include <pci/' -- || true)

# debian/copyright has the list, too.
named=$(sed -n '/^Files: tests.unit.claim/,/^Copyright/s/^\(Files: \|  *\)\([a-z].*\)/\2/p' debian/copyright | sort)
[ "$named" = "$gpl" ] || complain "debian/copyright: the files under the GPL are $(comm -3 <(echo "$named") <(echo "$gpl") | paste -sd' ')"

if command -v reuse >/dev/null && reuse --version | sed -n '1s/[^0-9]*//p' | awk -F. '{ exit !($1 >= 4) }'; then
	reuse lint -l || complain "reuse lint is not content"
	echo "reuse lint agrees"
fi
[ "$bad" != 0 ] || echo "$(files | tr -dc '\0' | wc -c) files, under $(find LICENSES -type f | wc -l) licences"
exit "$bad"
