package kubernetes

// like is what versions of Kubernetes are like.
const like = "v1.34.4"
