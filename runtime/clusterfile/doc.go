// Package clusterfile is the document that describes a cluster: its images, its
// hosts and how they are set up. One document is one cluster; it is what a user
// writes, what sealrt keeps of a cluster, and what drivers are asked about.
// It holds no secret: passwords and keys are named by where they are found.
package clusterfile
