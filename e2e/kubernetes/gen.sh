#!/usr/bin/env bash
# gen.sh - move the module in this folder to another Kubernetes version.
#
#   gen.sh v1.34.4
#
# Kubernetes refers to its own libraries by path; outside of its repository each needs a replace line with
# the version that belongs to it (v1.34.4: v0.34.4). etcd and its tools stay at the version that go.mod names.
set -Eeuo pipefail

[[ ${1:-} =~ ^v1\.[0-9]+\.[0-9]+$ ]] || { echo "usage: gen.sh v1.MINOR.PATCH" >&2; exit 2; }
cd "$(dirname "$(readlink -f "$0")")"
staging=v0.${1#v1.}
upstream=$(go mod download -json "k8s.io/kubernetes@$1" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
args=(-require "k8s.io/kubernetes@$1")
while read -r module; do
  args+=(-replace "$module=$module@$staging")
done < <(sed -n 's,^[[:space:]]*\(k8s.io/[a-z0-9-]*\) => \./staging.*,\1,p' "$upstream")
for module in k8s.io/api k8s.io/apimachinery k8s.io/client-go k8s.io/component-base; do
  args+=(-require "$module@$staging")
done
go mod edit "${args[@]}"
go mod tidy
