// Package state keeps what is known of a cluster: its Clusterfile with a
// revision, what it was made of, the journal, secrets, kubeconfig and host
// keys. The client has it in a folder, and every master has the same. Who
// changes a cluster holds its lock on the masters by a living connection, so
// that a dead holder keeps nothing.
package state
