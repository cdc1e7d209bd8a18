// Package host turns one machine into something that runs argv: this machine or one behind SSH.
//
// A Host runs a command as root and says how it ended. Everything else that this package does to a machine (Put, Get,
// ReadFile, Output) is written with Host.Run alone, so that it works on any Linux that has the usual small tools, BusyBox
// included, and on the recording host of package hosttest.
//
// Nothing here reads the environment, the working directory or a terminal: files, sockets and answers to questions
// (passwords, passphrases) arrive as fields and callbacks. Secrets are written to standard input and nowhere else: not in
// argv, not in errors.
package host
