package control

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
)

// Hash is a short name for v that is stable across processes and versions of Go: FNV-1a of its JSON form and, if not nil, of a number
// that makes another name of the same v after a collision. It is made of letters and digits that spell no words.
func Hash(v any, collisions *int32) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("hash %T: %v", v, err)) // API types always marshal
	}
	h := fnv.New32a()
	h.Write(data)
	if collisions != nil {
		h.Write(strconv.AppendInt(nil, int64(*collisions), 10))
	}
	return SafeName(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// SafeName writes s with an alphabet that has no vowels, and no digits or letters that look like others.
func SafeName(s string) string {
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	out := make([]byte, len(s))
	for i := range len(s) {
		out[i] = alphabet[int(s[i])%len(alphabet)]
	}
	return string(out)
}
