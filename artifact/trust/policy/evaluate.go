package policy

import (
	"context"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/trust"
)

// Image is a cluster image to be judged.
type Image struct {
	Name   string             // as the user wrote it
	Ref    artifact.Reference // that it has in the source; has a digest when the user wrote one
	Source artifact.Source    // one that can describe is asked for what is attached
	// Inside returns the names of the container images in the image with the digest that is judged. It is called
	// when a rule is about them.
	Inside func(ctx context.Context, pinned artifact.Reference) ([]string, error)
}

// Violation is a rule that an image breaks.
type Violation struct {
	Image string `json:"image"` // as the user wrote it
	Rule  string `json:"rule"`  // where it stands in the policy
	Cause string `json:"cause"`
	Next  string `json:"next"` // what can be done
}

// String returns a line for people.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s: %s: %s", v.Image, v.Rule, v.Cause, v.Next)
}

// Evaluate judges an image by every rule and returns what it is now, with the
// rules that it breaks. The judgement is of that digest. The error is one of
// reading what is judged.
func (p *Policy) Evaluate(ctx context.Context, img Image) (v1.Descriptor, []Violation, error) {
	found, err := trust.Find(ctx, img.Source, img.Ref)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	j := &judgement{p: p, img: img, found: found}
	j.names("images", p.Images, img.Name, img.Ref)
	if err := j.signature(ctx); err != nil {
		return v1.Descriptor{}, nil, err
	}
	if err := j.contents(ctx); err != nil {
		return v1.Descriptor{}, nil, err
	}
	if err := j.inside(ctx); err != nil {
		return v1.Descriptor{}, nil, err
	}
	return found.Subjects[0], j.broken, nil
}

// judgement is of one image.
type judgement struct {
	p      *Policy
	img    Image
	found  trust.Image
	broken []Violation
}

func (j *judgement) violate(rule, cause, next string) {
	j.broken = append(j.broken, Violation{Image: j.img.Name, Rule: rule, Cause: cause, Next: next})
}

// names judges the name of an image.
func (j *judgement) names(rule string, n Names, what string, ref artifact.Reference) {
	about := ""
	if what != j.img.Name {
		about = what + " inside: "
	}
	if !allowed(n.Repositories, ref) {
		j.violate(rule+".repositories", fmt.Sprintf("%s%s is not among %s", about, ref.Name(), strings.Join(n.Repositories, ", ")), "take it from there, or add its repository to the policy")
	}
	if cause := n.Tags.floats(ref); cause != "" {
		next := "build the cluster image with a name that stays"
		if about == "" {
			next = j.pin()
		}
		j.violate(rule+".tags", about+cause, next)
	}
}

// pin is what can be done to an image whose name moves.
func (j *judgement) pin() string {
	next := fmt.Sprintf("name it %s@%s", j.img.Ref.Familiar(), j.found.Subjects[0].Digest)
	if ref, err := artifact.ParseReference(j.img.Name); err != nil || ref != j.img.Ref {
		return "`sealrt load` it and " + next // an archive is named by its file
	}
	return next
}

// keys returns the keys that may sign the image, and those that may not.
func (j *judgement) keys() (may, others trust.Keys) {
	for _, s := range j.p.SignedBy {
		if allowed(s.Repositories, j.img.Ref) {
			may = append(may, s.key)
		} else {
			others = append(others, s.key)
		}
	}
	return may, others
}

// signature judges who signed the image.
func (j *judgement) signature(ctx context.Context) error {
	if len(j.p.SignedBy) == 0 {
		return nil
	}
	may, others := j.keys()
	if len(may) == 0 {
		j.violate("signedBy", "no key may sign "+j.img.Ref.Name(), "add the repository to a key in the policy")
		return nil
	}
	report, err := may.Examine(ctx, j.found)
	if err != nil || len(report.Signatures()) > 0 {
		return err
	}
	foreign, err := others.Examine(ctx, j.found)
	if err != nil {
		return err
	}
	if list := foreign.Signatures(); len(list) > 0 {
		j.violate("signedBy", fmt.Sprintf("%s signed it, which may not sign %s", list[0].Key.Name(), j.img.Ref.Name()), "have it signed by one that may: "+j.sign())
		return nil
	}
	j.violate("signedBy", report.Refusal().Error(), j.sign())
	return nil
}

// sign is what can be done to an image without a signature.
func (j *judgement) sign() string {
	return "sign it with `sealrt sign --key KEY " + j.img.Ref.Familiar() + "`, or fetch it from where its signature lies"
}

// inside judges the container images.
func (j *judgement) inside(ctx context.Context) error {
	if j.p.ContainerImages.isZero() || j.img.Inside == nil {
		return nil
	}
	names, err := j.img.Inside(ctx, j.found.Ref)
	if err != nil {
		return err
	}
	for _, name := range names {
		ref, err := artifact.ParseReference(name)
		if err != nil {
			j.violate("containerImages", fmt.Sprintf("%q inside is no name of an image", name), "build the cluster image again")
			continue
		}
		j.names("containerImages", j.p.ContainerImages, ref.Familiar(), ref)
	}
	return nil
}
