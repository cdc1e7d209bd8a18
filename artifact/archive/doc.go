// Package archive writes images to OCI archives and reads them back: whole ones, deltas that hold only what another
// place lacks, and volumes that a set of discs is made of.
package archive
