// Package sandbox runs the command of one RUN instruction on a tree of directories and leaves what the command
// changed in an overlay upper directory.
//
// A tree that has a shell of its own (/bin/sh) is the root file system of the command, as with any container builder.
// A tree without one, the usual cluster image, is mounted at /rootfs of the build sandbox: the tools of the builder's
// machine under a throw-away overlay, a private /proc, a minimal /dev and /etc, and nothing else of that machine. Only
// changes to the tree are kept. Mounts show the command more, and their mount points leave no trace in the tree.
//
// The command lives in mount, pid, ipc, uts and cgroup namespaces of its own, with no_new_privs, few capabilities, and
// without the system calls that containers do without (filterCalls says where there is no filter). Its first process
// dies with the process that called Run, and with it every other process and mount, however the caller ends.
//
// Without root, a user namespace takes the place of root: with all subordinate ids of the user (subuid(5)) if
// newuidmap and newgidmap are there, otherwise with one id. View translates what such a command made.
//
// The package works by running the caller's own executable again: a program that calls Run calls Main first of all.
package sandbox
