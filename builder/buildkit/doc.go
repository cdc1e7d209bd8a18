// Package buildkit carries out RUN commands on a BuildKit daemon. What has no RUN is built here, by package builder.
//
// Each command is one solve: an LLB definition (github.com/moby/buildkit/client/llb) with one exec operation. The layers
// of its tree are offered to the daemon over the session as an OCI image layout, so that it fetches those that it lacks
// and no others, and keeps them. Only the one layer that the command made comes back, as a plain tar archive. It goes to
// a file without a name, and its entries are read from there.
//
// A tree with a shell is the root file system of the command. One without a shell is mounted at /rootfs of a tools image,
// which takes the place of the tools of the builder's machine in package sandbox.
//
// What the daemon caches depends on the layers, the command, its mounts and the names of its secrets, but not on their
// content, as with docker build. The daemon cuts the log of a command that says more than 2 MiB, unless told otherwise
// (its variable BUILDKIT_STEP_LOG_MAX_SIZE).
package buildkit
