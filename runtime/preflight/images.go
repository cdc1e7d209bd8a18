package preflight

import "strings"

// digestsOnDocker refuses, once, container images that pods name by digest where
// docker is the runtime: they are loaded from archives, which keep tags alone.
func digestsOnDocker(s *subject) []Finding {
	if s.c.Runtime != "docker" || s.index > 0 {
		return nil
	}
	var names []string
	for _, i := range s.c.Images {
		for _, name := range i.Images {
			if strings.Contains(name, "@") {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []Finding{{Level: Error, Cause: "docker does not find images by the digest that they are named with: " + strings.Join(names, ", "),
		Do: "name them by tag in the image list, or take containerd as the runtime"}}
}
