package main

import (
	"fmt"
	"strconv"
	"strings"
)

// size is the value of a flag that is a number of bytes: 4GiB, 700MB, 4G, 1.5t.
// KiB or K is 1024 bytes, KB is 1000.
type size int64

// Set implements pflag.Value.
func (s *size) Set(text string) error {
	number := strings.TrimRight(strings.TrimSpace(text), "BIKMGTbikmgt")
	unit := strings.ToLower(strings.TrimSpace(text)[len(number):])
	factor, known := map[string]float64{
		"": 1, "b": 1,
		"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
		"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
		"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
		"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
	}[unit]
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !known || !(n*factor >= 1) || n*factor >= 1<<62 {
		return fmt.Errorf("write a size like 4GiB, 700MB or 4G")
	}
	*s = size(n * factor)
	return nil
}

// String implements pflag.Value.
func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return sizeText(int64(*s))
}

// Type implements pflag.Value.
func (s *size) Type() string { return "size" }
