package runtime

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// publishedFile is where the manifest of Publish lies on the first master.
const publishedFile = Scratch + "/clusterfile.json"

// Publish returns the steps, for the first master at the end of a plan, that
// show the Clusterfile to people: as the ConfigMap sealrt-NAME in kube-system.
// There are no secrets in a Clusterfile, and the revision is left away, since
// it is not in step with the object. kubectl is the driver's.
func Publish(c *Cluster, kubectl func(args ...string) []string) ([]Step, error) {
	doc := c.Clusterfile()
	doc.Metadata.Revision = 0
	text, err := clusterfile.Format(doc)
	if err != nil {
		return nil, err
	}
	object, err := json.MarshalIndent(map[string]any{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata": map[string]any{
			"name": "sealrt-" + c.Name, "namespace": "kube-system",
			"labels": map[string]string{"app.kubernetes.io/managed-by": "sealrt"},
		},
		"data": map[string]string{"Clusterfile": string(text)},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("publish the Clusterfile: %w", err)
	}
	apply := kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=sealrt", "-f", publishedFile)
	// the step is another one when the text is, so that it is done again
	mark := fmt.Sprintf("SEALRT_CLUSTERFILE=%x", sha256.Sum256(text))
	return []Step{
		{ID: "write the published Clusterfile", Do: Write{Path: publishedFile, Data: string(object) + "\n", Mode: 0o600}},
		{ID: "publish the Clusterfile", Do: Exec{Argv: apply, Env: []string{mark}, Timeout: applyTimeout, Retry: true}},
	}, nil
}

// published plans showing the cluster to people as it then is.
func (r *Runtime) published(as *Cluster) (Plan, error) {
	steps, err := Publish(as, r.driver.Kubectl)
	return r.onActing("publish", steps), err
}
