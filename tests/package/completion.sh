#!/usr/bin/env bash
# bash, zsh and fish complete each option that --help (or --help-all) has, those of -o too, and what an option may be set to; in the shells
# themselves (zsh at a terminal), with what is installed.
#
#   tests/package/completion.sh [BUILD]       default build/release
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "$root" && cd "${1:-build/release}" && pwd)
for tool in zsh fish; do
	command -v $tool >/dev/null || { echo "$tool is not installed (tests/install-deps.sh test)"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0 count=0
complain() { echo "$*"; bad=1; }
export HOME=$work TERM=dumb XDG_CONFIG_HOME=$work XDG_DATA_HOME=$work XDG_CACHE_HOME=$work

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
share=$work/prefix/share
PATH=$work/prefix/bin:$work/prefix/sbin:$PATH
mkdir "$work/here" "$work/here/folder" && : >"$work/here/file" && cd "$work/here"

# in_SHELL LINE: what TAB behind it offers, one a line; whole words for what is an option, whatever the shell replaces
in_bash() {
	bash --norc -c '
		. "$1/bash-completion/completions/${2%% *}"
		COMP_LINE=$2 COMP_POINT=${#2}
		_vfsdax "${2%% *}"
		cur=${2##* }
		for word in "${COMPREPLY[@]}"; do echo "${cur%"${cur##*[=:]}"}$word"; done' - "$share" "$1"
}
in_fish() { fish --no-config -c "set -g fish_complete_path $share/fish/vendor_completions.d; complete -C '$1'" | cut -f 1; }
# At a terminal of its own; what it would insert is told by a compadd that looks at its arguments.
in_zsh() {
	zsh -f "$work/ask.zsh" "$share/zsh/site-functions" "$1" | tr -d '\r'
}
cat >"$work/ask.zsh" <<'ZSH'
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1= PS2= RPS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -d \$HOME/dump; zstyle ':completion:*' list-packed false"
zpty -w shell 'compadd () {
	if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
	local -a found
	builtin compadd -A found "$@"
	[[ -z $found ]] || print -rl -- ${found/#/"<<"}
	builtin compadd "$@"
}
bindkey "^I" complete-word; unsetopt zle_bracketed_paste; null-line () { print END; }; zle -N null-line; bindkey "^Z" null-line
print READY'
zpty -r -m shell line '*READY*READY*'
zpty -w -n shell "$2"$'\t\x1a'
zpty -r -m shell line '*END*'
print -r -- $line | grep -o '<<[^[:space:]]*' | cut -c 3-
zpty -d shell
ZSH

# offers SHELL LINE WANTED...: TAB behind LINE offers each; of an offered word counts what is behind the last comma
offers() {
	local shell=$1 line=$2 got word
	shift 2
	got=$("in_$shell" "$line" | sed 's/^.*,//' || true)
	for word in "$@"; do
		count=$((count + 1))
		grep -qE -e "^$word(=|$)" <<<"$got" || complain "$shell does not offer $word behind '$line'"
	done
}
# values SHELL LINE WANTED...: the same of what is behind the last =
values() {
	local shell=$1 line=$2 got word
	shift 2
	got=$("in_$shell" "$line" | sed 's/^.*=//' || true)
	for word in "$@"; do
		count=$((count + 1))
		grep -qxF -e "$word" <<<"$got" || complain "$shell does not offer $word behind '$line'"
	done
}
for shell in bash zsh fish; do
	for program in vfsdax-mount vfsdax-device vfsdax-stat vfsdax-bench vfsdax-run; do
		help=$("$program" --help-all 2>/dev/null || "$program" --help)
		mapfile -t options < <(sed -nE 's/^  (--[a-z0-9_-]+).*/\1/p' <<<"$help")
		mapfile -t listed < <(sed -nE 's/^  -o ([a-z0-9_-]+).*/\1/p' <<<"$help")
		[ ${#options[@]} -gt 1 ] || complain "$program --help has no options?"
		offers $shell "$program --" "${options[@]}"
		[ ${#listed[@]} = 0 ] || offers $shell "$program -o " "${listed[@]}"
		[ ${#listed[@]} = 0 ] || offers $shell "$program -o hard," "${listed[@]/#hard/ro}"
		# --name=one|two
		while read -r name words; do
			case $name in
			-o*) name="-o hard,${name#-o}" ;;
			esac
			# shellcheck disable=SC2086 # words
			values $shell "$program $name=" ${words//|/ }
		done < <(sed -nE 's/^  (-o|--) ?([a-z0-9_-]+)\[?=([a-z]+(\|[a-z-]+)+)\]?( .*)?$/\1\2 \3/p' <<<"$help")
	done
	got=$(in_$shell "vfsdax-device --shared-dir " | paste -sd' ')
	[[ $got == folder* && $got != *file* ]] || complain "$shell: for a directory it offers '$got'"
done
[ "$bad" = 0 ] || exit 1
[ "$count" -gt 300 ] || { echo "only $count completions were tried"; exit 1; }
echo "$count completions"
