package numbers

import (
	"os"
	"strconv"
	"strings"
)

// Parse is the numbers of a text by their names, without the colon that /proc/meminfo puts behind them. A unit of kB is taken into account;
// lines of other shapes are passed over.
func Parse(text []byte) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			continue
		}
		if len(f) > 2 && f[2] == "kB" {
			n <<= 10
		}
		out[strings.TrimSuffix(f[0], ":")] = n
	}
	return out
}

// Read is the numbers of a file. It has none if the file is not there: which are depends on the kernel.
func Read(path string) map[string]uint64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return map[string]uint64{}
	}
	return Parse(b)
}
