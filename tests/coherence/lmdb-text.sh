#!/bin/sh
# lmdb-text.sh FROM TO: what mdb_load(1) reads, a key and a value for each number
printf 'VERSION=3\nformat=print\ntype=btree\nmapsize=268435456\nHEADER=END\n'
seq -f ' %010.0f' "$1" "$2" | sed 'p; s/ \(.*\)/ value \1 \1 \1 \1 \1 \1/'
echo DATA=END
