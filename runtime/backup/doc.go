// Package backup is the file that a cluster's backup is: a tar archive (POSIX
// pax) of
//
//	manifest.json  what it is of, first
//	state/         the cluster's state: Clusterfile, images.json, secrets
//	data/          what the distribution's driver kept on a master
//	SHA256SUMS     the digests of all files before it, last
//
// It is written and read as a stream. It holds all secrets of the cluster and is
// not encrypted.
package backup
