// Package contents reads what is inside a cluster image: its files, the
// container images in it, and the software in both.
package contents
