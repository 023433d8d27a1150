package pulled

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	core "k8s.io/api/core/v1"

	"proa.dev/kit/dockerauth"
)

// Credential is what a registry wants to know, and who has it: a pull secret, a service account, or else all of the node.
type Credential struct {
	dockerauth.Entry
	Secret  *core.Secret
	Account *core.ServiceAccount
}

// Hash is the hash of credentials as it stands in files: SHA-256 of their JSON.
func Hash(e dockerauth.Entry) (string, error) {
	data, err := json.Marshal(struct {
		Username      string `json:"username,omitempty"`
		Password      string `json:"password,omitempty"`
		Email         string `json:"email,omitempty"`
		IdentityToken string `json:"identitytoken,omitempty"`
		RegistryToken string `json:"registrytoken,omitempty"`
	}{e.Username, e.Password, e.Email, e.IdentityToken, e.RegistryToken})
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), err
}

func (c *Credential) secret() (Secret, error) {
	hash, err := Hash(c.Entry)
	return Secret{UID: string(c.Secret.UID), Namespace: c.Secret.Namespace, Name: c.Secret.Name, Hash: hash}, err
}

func (c *Credential) account() Account {
	return Account{UID: string(c.Account.UID), Namespace: c.Account.Namespace, Name: c.Account.Name}
}

// pullers are who may have an image that came by c; nil is without credentials.
func (c *Credential) pullers() (Pullers, error) {
	switch {
	case c == nil || c.Secret == nil && c.Account == nil:
		return Pullers{Everybody: true}, nil
	case c.Secret != nil:
		s, err := c.secret()
		return Pullers{Secrets: []Secret{s}}, err
	}
	return Pullers{Accounts: []Account{c.account()}}, nil
}
