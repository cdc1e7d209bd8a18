package main

import "testing"

func TestSizesAreBinaryOrDecimalAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]int64{
		"4GiB": 4 << 30, "4G": 4 << 30, "4g": 4 << 30, "700MB": 700e6, "1.5K": 1536, "1kb": 1000, "2TiB": 2 << 40, "512": 512, "10 MiB": 10 << 20, "9B": 9,
	} {
		var s size
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("%s is %d: %v, want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "G", "-1G", "0", "0.5", "4XB", "4GiBB", "1e30G", "NaN", "4 G i B"} {
		var s size
		if err := s.Set(text); err == nil {
			t.Errorf("%q is taken for %d", text, s)
		}
	}
}
