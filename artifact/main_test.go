package artifact_test

import (
	"os"
	"testing"

	"github.com/sealrt/sealrt/artifact/artifacttest"
)

func TestMain(m *testing.M) { os.Exit(artifacttest.Alone(m)) }
