package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// errNoWay marks what another attempt can not cure.
var errNoWay = errors.New("can not authenticate")

// tokenKey says what a token is good for: the user and the repository of one endpoint.
type tokenKey struct{ host, path, user, secret string }

type token struct {
	header  string
	expires time.Time
}

func (e *endpoint) key() tokenKey {
	k := tokenKey{host: e.base, path: e.path}
	if e.auth != nil {
		k.user, k.secret = e.auth.Username, e.auth.Password+"\x00"+e.auth.IdentityToken+"\x00"+e.auth.RegistryToken
	}
	return k
}

// known returns the Authorization header that worked before, or "".
func (c *Client) known(e *endpoint) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.tokens[e.key()]
	if !ok || time.Now().After(t.expires) {
		delete(c.tokens, e.key())
		return ""
	}
	return t.header
}

// authorize answers a challenge (RFC 9110, 11.6.1) with the value of an Authorization header, "" when there is no way.
func (c *Client) authorize(ctx context.Context, e *endpoint, challenges []string) (string, error) {
	t := token{expires: time.Now().Add(time.Minute)}
	for _, ch := range parseChallenges(challenges) {
		var err error
		switch {
		case ch.scheme == "bearer" && e.auth != nil && e.auth.RegistryToken != "":
			t.header = "Bearer " + e.auth.RegistryToken
		case ch.scheme == "bearer":
			t, err = c.fetchToken(ctx, e, ch.params)
		case ch.scheme == "basic" && e.auth != nil && e.auth.Username != "":
			t.header = "Basic " + base64.StdEncoding.EncodeToString([]byte(e.auth.Username+":"+e.auth.Password))
		}
		if err != nil {
			return "", err
		}
		if t.header != "" {
			c.mu.Lock()
			c.tokens[e.key()] = t
			c.mu.Unlock()
			return t.header, nil
		}
	}
	return "", nil
}

// fetchToken gets a bearer token from the server that the challenge names.
func (c *Client) fetchToken(ctx context.Context, e *endpoint, params map[string]string) (token, error) {
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != "http" {
		return token{}, fmt.Errorf("%w: the registry names a token server that is no URL: %q", errNoWay, params["realm"])
	}
	if realm.Scheme == "http" && strings.HasPrefix(e.base, "https:") {
		return token{}, fmt.Errorf("%w: the registry wants credentials sent without encryption to %s", errNoWay, realm.Host)
	}
	scope := params["scope"]
	if scope == "" {
		scope = "repository:" + e.path + ":pull"
	}
	req, err := tokenRequest(ctx, e, realm, url.Values{"service": {params["service"]}, "scope": {scope}})
	if err != nil {
		return token{}, err
	}
	req.Header.Set("User-Agent", c.config.UserAgent)
	res, err := e.client.Do(req)
	if err != nil {
		return token{}, fmt.Errorf("token server %s: %w", realm.Host, explain(err))
	}
	if res.StatusCode != http.StatusOK {
		refused := e.refuse(request{}, res)
		refused.Registry += " (token server " + realm.Host + ")"
		return token{}, refused
	}
	defer res.Body.Close()
	return readToken(res.Body, realm.Host)
}

// tokenRequest asks with basic credentials or as nobody (distribution's token specification), or trades an identity token
// in the OAuth2 form.
func tokenRequest(ctx context.Context, e *endpoint, realm *url.URL, ask url.Values) (*http.Request, error) {
	if e.auth != nil && e.auth.IdentityToken != "" {
		ask.Set("grant_type", "refresh_token")
		ask.Set("client_id", "proa")
		ask.Set("refresh_token", e.auth.IdentityToken)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(ask.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}
	u := *realm
	query := u.Query()
	for k, v := range ask {
		query[k] = v
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err == nil && e.auth != nil && e.auth.Username != "" {
		req.SetBasicAuth(e.auth.Username, e.auth.Password)
	}
	return req, err
}

func readToken(r io.Reader, host string) (token, error) {
	var doc struct {
		Token       string
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&doc); err != nil {
		return token{}, fmt.Errorf("token server %s: %w", host, err)
	}
	if doc.Token == "" {
		doc.Token = doc.AccessToken
	}
	if doc.Token == "" {
		return token{}, fmt.Errorf("%w: token server %s sent no token", errNoWay, host)
	}
	// 60 s is what the specification says when the server does not; a tenth is left for the way.
	life := 60 * time.Second
	if doc.ExpiresIn > 0 {
		life = time.Duration(doc.ExpiresIn) * time.Second
	}
	return token{header: "Bearer " + doc.Token, expires: time.Now().Add(life * 9 / 10)}, nil
}

// challenge is one way to authenticate that a server offers.
type challenge struct {
	scheme string // small letters
	params map[string]string
}

// parseChallenges reads WWW-Authenticate headers: scheme, then key="value" pairs with commas between, and maybe another
// scheme after that.
func parseChallenges(headers []string) []challenge {
	var all []challenge
	for _, h := range headers {
		for h = strings.TrimLeft(h, ", \t"); h != ""; h = strings.TrimLeft(h, ", \t") {
			word, rest := takeWord(h)
			if word == "" {
				break
			}
			rest = strings.TrimLeft(rest, " \t")
			if !strings.HasPrefix(rest, "=") || len(all) == 0 {
				all = append(all, challenge{scheme: strings.ToLower(word), params: make(map[string]string)})
				h = rest
				continue
			}
			var value string
			value, h = takeValue(strings.TrimLeft(rest[1:], " \t"))
			all[len(all)-1].params[strings.ToLower(word)] = value
		}
	}
	return all
}

func takeWord(s string) (word, rest string) {
	end := strings.IndexAny(s, " \t,=\"")
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

func takeValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			return s, ""
		}
		return s[:end], s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), s[i+1:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
