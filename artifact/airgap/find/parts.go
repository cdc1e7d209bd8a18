package find

import (
	"go.yaml.in/yaml/v3"
)

// parts are the fields of a mapping that name an image together.
type parts struct {
	registry, name, tag, digest string
	at                          *yaml.Node // the field that names it
}

// text returns the reference that the parts make.
func (p parts) text() string { return compose(p.registry, p.name, p.tag, p.digest) }

// partsOf returns the parts of an image that a mapping has, and false when it
// has none. key is what the mapping is called. These are known:
//
//	registry, repository, tag, digest     charts' values, many operators
//	repository, image, version            NVIDIA's operators
//	image, tag, digest                    an image without a tag of its own
//	image, version and nothing else       k0s
//	baseImage, tag or version, sha        Prometheus' operator
//	name, tag, digest                     below a field called image
//	reference                             likewise: image volumes
func partsOf(n *yaml.Node, key string) (parts, bool) {
	image, repository := at(n, "image"), at(n, "repository")
	p := parts{registry: str(get(n, "registry")), tag: text(get(n, "tag")), digest: str(get(n, "digest"))}
	switch base, name, reference := at(n, "baseImage"), at(n, "name"), at(n, "reference"); {
	case str(repository) != "" && str(image) != "" && !isPinned(str(image)):
		p.at, p.name = image, compose(str(repository), str(image), "", "")
		p.orVersion(n)
	case str(repository) != "" && (p.tag != "" || p.digest != "" || isImageKey(key)):
		p.at, p.name = repository, str(repository)
	case str(image) != "" && !isPinned(str(image)):
		p.at, p.name = image, str(image)
		if len(fields(n)) == 2 {
			p.orVersion(n)
		}
		if p.tag == "" && p.digest == "" {
			return parts{}, false // the field counts on its own
		}
	case str(base) != "" && image == nil:
		p.at, p.name = base, str(base)
		p.orVersion(n)
		if p.digest == "" {
			p.digest = str(get(n, "sha"))
		}
	case key == "image" && str(reference) != "":
		p.at, p.name = reference, str(reference)
	case key == "image" && str(name) != "" && image == nil:
		p.at, p.name = name, str(name)
	}
	return p, p.at != nil
}

// orVersion takes the version for the tag where there is no tag.
func (p *parts) orVersion(n *yaml.Node) {
	if p.tag == "" && p.digest == "" {
		p.tag = text(get(n, "version"))
	}
}
