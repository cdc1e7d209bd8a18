// Package sandbox runs the command of one RUN instruction on a tree of directories and leaves what the command
// changed in an overlay upper directory.
//
// A tree that has a shell of its own (/bin/sh) is the root file system of the command, as with any container builder.
// A tree without one, the usual cluster image, is mounted at /rootfs of the build sandbox: the tools of the builder's
// machine under a throw-away overlay, a private /proc, a minimal /dev and /etc, and nothing else of that machine. Only
// changes to the tree are kept.
//
// The command lives in mount, pid, ipc, uts and cgroup namespaces of its own, with no_new_privs and few capabilities.
// Its first process dies with the process that called Run, and with it every other process and mount, however the
// caller ends. Without root, a user namespace that knows one id takes the place of root.
//
// The package works by running the caller's own executable again: a program that calls Run calls Main first of all.
package sandbox
