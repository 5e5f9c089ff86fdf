# SPDX-License-Identifier: GPL-3.0-or-later
# What a person does first with an installed HoloFS; each step has to do what it says. $1: the FUSE binding of mounts.
set -x
[[ $(holofsctl version) =~ FUSE\ binding\ +$1\  ]]
holofsctl up
holofsctl create notes
mkdir ~/notes
holofsctl mount notes ~/notes
holofsctl doctor
[[ $(holofsctl version --json) == *'"state": "up"'* ]]
echo "written in a clean root" >~/notes/hello.txt
mkdir ~/notes/folder
head -c 1000000 /dev/urandom >~/notes/folder/large
cp ~/notes/folder/large ~/large
holofsctl unmount ~/notes
[ -z "$(ls -A ~/notes)" ]
holofsctl down
holofsctl up
holofsctl mount notes ~/notes
[ "$(cat ~/notes/hello.txt)" = "written in a clean root" ]
cmp ~/large ~/notes/folder/large
holofsctl down
[ -z "$(grep fuse.holofs /proc/self/mounts || true)" ]
code=0
holofsctl status || code=$?
[ $code = 3 ]
rmdir ~/notes
rm -r ~/.local/state/holofs ~/large
