package core

import (
	"encoding/json"
	"testing"

	core "k8s.io/api/core/v1"
)

// A null among bytes is shown as no bytes, at once and not only when it has been read back from protobuf.
func TestNullBytes(t *testing.T) {
	s, c := &core.Secret{}, &core.ConfigMap{}
	if err := json.Unmarshal([]byte(`{"data":{"a":null,"b":"eA=="}}`), s); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"binaryData":{"a":null}}`), c); err != nil {
		t.Fatal(err)
	}
	Secret.Default(s)
	ConfigMap.Default(c)
	if got, err := json.Marshal(map[string]any{"s": s.Data, "c": c.BinaryData}); string(got) != `{"c":{"a":""},"s":{"a":"","b":"eA=="}}` {
		t.Errorf("got %s, %v", got, err)
	}
}
