package main

import (
	"context"

	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/trust"
)

// signedBy returns what says whether one of the keys in files signed an image;
// nil for no files.
func signedBy(files []string) (func(context.Context, airgap.Signed) error, error) {
	var keys trust.Keys
	for _, file := range files {
		key, err := trust.LoadKey(file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	return func(ctx context.Context, s airgap.Signed) error { return keys.Verify(ctx, trust.Image(s)) }, nil
}
