package pulled

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	version    = "kubelet.config.k8s.io/v1beta1"
	oldVersion = "kubelet.config.k8s.io/v1alpha1" // has the same fields
	kindIntent = "ImagePullIntent"
	kindRecord = "ImagePulledRecord"
)

// intent is an ImagePullIntent.
type intent struct {
	metav1.TypeMeta `json:",inline"`
	Image           string `json:"image"` // as the container says it
}

// record is an ImagePulledRecord. It is not changed once it is in the index.
type record struct {
	metav1.TypeMeta `json:",inline"`
	Updated         metav1.Time        `json:"lastUpdatedTime"`
	ID              string             `json:"imageRef"`                    // of the image, by the runtime
	By              map[string]Pullers `json:"credentialMapping,omitempty"` // by the name that it was pulled by, without tag and digest
}

// Pullers are those who have pulled an image by one name.
type Pullers struct {
	Secrets   []Secret  `json:"kubernetesSecrets,omitempty"`
	Accounts  []Account `json:"kubernetesServiceAccounts,omitempty"`
	Everybody bool      `json:"nodePodsAccessible,omitempty"` // it came without credentials, or with those of the node
}

// Secret is a pull secret, and what was in it.
type Secret struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Hash      string `json:"credentialHash"` // see Hash
}

// same says whether it is the same object, whatever is in it.
func (s Secret) same(o Secret) bool {
	return s.UID == o.UID && s.Namespace == o.Namespace && s.Name == o.Name
}

// Account is a service account with whose token a plugin was asked for credentials.
type Account struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// fileName is under what an image's name or id is kept.
func fileName(of string) string {
	sum := sha256.Sum256([]byte(of))
	return prefix + hex.EncodeToString(sum[:])
}

const prefix = "sha256-"

func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append(data, '\n'), err
}

func newIntent(image string) intent {
	return intent{metav1.TypeMeta{Kind: kindIntent, APIVersion: version}, image}
}

// readIntent reads the file of that name. old says that it is of a former version.
func readIntent(file string, data []byte) (i intent, old bool, err error) {
	if err := decode(data, &i); err != nil {
		return i, false, err
	}
	old, err = check(i.TypeMeta, kindIntent)
	if err == nil && fileName(i.Image) != file {
		err = fmt.Errorf("it is about image %q, whose file has another name", i.Image)
	}
	return i, old, err
}

// readRecord is readIntent for records.
func readRecord(file string, data []byte) (r *record, old bool, err error) {
	r = &record{}
	if err := decode(data, r); err != nil {
		return nil, false, err
	}
	old, err = check(r.TypeMeta, kindRecord)
	if err == nil && fileName(r.ID) != file {
		err = fmt.Errorf("it is about image %q, whose file has another name", r.ID)
	}
	r.APIVersion = version
	return r, old, err
}

// decode is strict: what is not known here may forbid what the rest allows.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more follows the object, from byte %d", d.InputOffset())
	}
	return nil
}

func check(t metav1.TypeMeta, kind string) (old bool, err error) {
	if t.Kind != kind || t.APIVersion != version && t.APIVersion != oldVersion {
		return false, fmt.Errorf("want a %s of %s, got %q of %q", kind, version, t.Kind, t.APIVersion)
	}
	return t.APIVersion == oldVersion, nil
}
