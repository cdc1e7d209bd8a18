module github.com/sealrt/sealrt

go 1.26.8

require (
	github.com/Masterminds/sprig/v3 v3.3.0 // functions of templates in images
	github.com/distribution/reference v0.6.0 // the grammar of image references
	github.com/docker/docker-credential-helpers v0.9.9 // credsStore of docker's configuration
	github.com/google/go-cmp v0.7.0 // tests: differences
	github.com/google/go-containerregistry v0.22.1 // OCI types, registry authentication; tests: a registry in memory
	github.com/kevinburke/ssh_config v1.6.0 // ~/.ssh/config
	github.com/klauspost/compress v1.20.3 // zstd and gzip
	github.com/moby/buildkit v0.34.2 // the parser of Dockerfile syntax, and variable expansion
	github.com/moby/patternmatcher v0.6.1 // .dockerignore
	github.com/opencontainers/go-digest v1.0.0 // digests in references
	github.com/rogpeppe/go-internal v1.16.0 // tests: scripts of command lines
	github.com/spf13/cobra v1.10.2 // the command line
	github.com/spf13/pflag v1.0.10 // flags of the command line
	go.podman.io/image/v5 v5.41.2 // auth.json, registries.conf
	golang.org/x/crypto v0.58.0 // SSH
	golang.org/x/sync v0.24.0 // errgroup
	golang.org/x/sys v0.49.0 // namespaces, mounts, locks
	golang.org/x/term v0.47.0 // passwords without echo
	sigs.k8s.io/yaml v1.6.0 // Clusterfile and kubeconfig
)

require (
	dario.cat/mergo v1.0.2 // indirect
	github.com/BurntSushi/toml v1.6.0 // indirect
	github.com/Masterminds/goutils v1.1.1 // indirect
	github.com/Masterminds/semver/v3 v3.3.0 // indirect
	github.com/agext/levenshtein v1.2.3 // indirect
	github.com/containerd/typeurl/v2 v2.3.0 // indirect
	github.com/docker/cli v29.8.2+incompatible // indirect
	github.com/docker/go-units v0.5.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/huandu/xstrings v1.5.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/mitchellh/copystructure v1.2.0 // indirect
	github.com/mitchellh/reflectwalk v1.0.2 // indirect
	github.com/moby/docker-image-spec v1.3.1 // indirect
	github.com/moby/sys/capability v0.4.0 // indirect
	github.com/moby/sys/mountinfo v0.7.2 // indirect
	github.com/moby/sys/user v0.4.1 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
	github.com/opencontainers/runtime-spec v1.3.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/planetscale/vtprotobuf v0.6.1-0.20240319094008-0393e58bdf10 // indirect
	github.com/shopspring/decimal v1.4.0 // indirect
	github.com/sirupsen/logrus v1.10.2 // indirect
	github.com/spf13/cast v1.7.0 // indirect
	github.com/tonistiigi/go-csvvalue v0.0.0-20240814133006-030d3b2625d0 // indirect
	go.podman.io/storage v1.64.1 // indirect
	go.yaml.in/yaml/v2 v2.4.2 // indirect
	golang.org/x/tools v0.49.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	gotest.tools/v3 v3.5.2 // indirect
)
