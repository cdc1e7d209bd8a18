package store

import (
	"os"
	"testing"

	"github.com/sealrt/sealrt/artifact/artifacttest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("ARTIFACT_TEST_WRITER"); dir != "" {
		os.Exit(writerMain(dir))
	}
	if dir := os.Getenv("ARTIFACT_TEST_PUTTER"); dir != "" {
		os.Exit(putterMain(dir))
	}
	os.Exit(artifacttest.Alone(m))
}
