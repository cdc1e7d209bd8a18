package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/trust/policy"
)

// judged are images that a policy allows: their digests, in the order of the
// command line. A nil one allows all.
type judged []v1.Hash

// judge evaluates the policy in a file for images, which are not fetched for it.
// What is not allowed is one error that names everything.
func judge(ctx context.Context, env *environment, file string, args []string) (judged, error) {
	if file == "" {
		return nil, nil
	}
	p, err := policy.Load(file)
	if err != nil {
		return nil, err
	}
	list := judged{}
	var broken []policy.Violation
	for _, arg := range args {
		d, more, err := judgeOne(ctx, env, p, arg, false)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", file, err)
		}
		list, broken = append(list, d.Digest), append(broken, more...)
	}
	return list, forbidden(file, broken)
}

// judgeOne evaluates a policy for one image.
func judgeOne(ctx context.Context, env *environment, p *policy.Policy, arg string, remote bool) (v1.Descriptor, []policy.Violation, error) {
	ref, src, err := whereIs(ctx, env, arg, remote)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	return p.Evaluate(ctx, policy.Image{Name: arg, Ref: ref, Source: src, Inside: func(ctx context.Context, pinned artifact.Reference) ([]string, error) {
		return namesInside(ctx, src, pinned)
	}})
}

// namesInside lists the container images in a cluster image, for all platforms.
func namesInside(ctx context.Context, src artifact.Source, ref artifact.Reference) ([]string, error) {
	versions, err := versionsOf(ctx, src, ref, "")
	if err != nil {
		return nil, err
	}
	var names []string
	seen := map[string]bool{}
	for _, v := range versions {
		images, err := layout.OpenContents(ctx, src, ref, v.manifest)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range images.Entries() {
			if e.Name != "" && !seen[e.Name] {
				seen[e.Name] = true
				names = append(names, e.Name)
			}
		}
		if err := images.Close(); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// forbidden makes violations an error.
func forbidden(file string, broken []policy.Violation) error {
	if len(broken) == 0 {
		return nil
	}
	lines := make([]string, len(broken))
	for i, v := range broken {
		lines[i] = "\n  " + v.String()
	}
	return fmt.Errorf("the policy %s does not allow it:%s", file, strings.Join(lines, ""))
}

// still pins the image with number i of the command line to what was judged. It is
// an error when its name leads elsewhere now.
func (j judged) still(ctx context.Context, src artifact.Source, i int, ref artifact.Reference) (artifact.Reference, error) {
	if j == nil {
		return ref, nil
	}
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return artifact.Reference{}, err
	}
	if d.Digest != j[i] {
		return artifact.Reference{}, fmt.Errorf("%s became another image while the policy was evaluated, %s: run the command again", ref.Familiar(), d.Digest)
	}
	return ref.WithDigest(d.Digest), nil
}

// policyJSON is what verify --policy prints.
type policyJSON struct {
	Ref        string             `json:"ref"`
	Digest     string             `json:"digest"`
	MediaType  string             `json:"mediaType"`
	Verified   bool               `json:"verified"`
	Violations []policy.Violation `json:"violations"`
}

// verifyPolicy evaluates a policy and runs nothing.
func verifyPolicy(ctx context.Context, env *environment, f verifyFlags, arg string) error {
	p, err := policy.Load(f.policy)
	if err != nil {
		return err
	}
	d, broken, err := judgeOne(ctx, env, p, arg, f.remote)
	if err != nil {
		return err
	}
	if f.output == "json" {
		err = printJSON(env, policyJSON{Ref: arg, Digest: d.Digest.String(), MediaType: string(d.MediaType), Verified: len(broken) == 0, Violations: append([]policy.Violation{}, broken...)})
	} else if len(broken) == 0 {
		_, err = fmt.Fprintln(env.stdout, d.Digest)
	}
	if err != nil {
		return err
	}
	return forbidden(f.policy, broken)
}
