// Package convert makes cluster images of other tools, of sealos and sealer, cluster images of this format.
//
// Both keep the container images of a cluster in registry/, as the file system storage of a docker distribution
// registry. These move to images/, blob by blob, while the layers of the tree are rewritten in one pass; what labels and
// annotations say goes into the labels, environment and command of the configuration. What has no counterpart is
// reported, and stays where it is.
package convert
