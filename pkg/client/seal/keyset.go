package seal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Secret is 256 bits that nobody can guess. It does not print: see [Secret.Reveal].
type Secret [32]byte

// NewSecret draws a secret.
func NewSecret() Secret {
	var s Secret
	rand.Read(s[:])
	return s
}

// Reveal is the secret in base64, as [ParseKeyset] takes it.
func (s Secret) Reveal() string { return base64.StdEncoding.EncodeToString(s[:]) }

// Format implements [fmt.Formatter]: whatever the verb, the secret is not shown.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText implements [encoding.TextMarshaler], for loggers and encoders: the secret is not shown.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const redacted = "[redacted]"

// Key seals values, and opens them.
type Key struct {
	// ID names it in what it sealed: 1 to 64 letters, digits, dots, - and _. A key's id is for ever: under another one it opens nothing of
	// before.
	ID     string
	Secret Secret
}

// Keyset is the keys of a codec.
type Keyset struct {
	// Keys are the keys; the first seals, all open. There is at least one.
	Keys []Key
	// Fingerprint is what fingerprints are made with. It stays when keys are rotated.
	Fingerprint Secret
}

// fingerprintID is the line of the secret for fingerprints.
const fingerprintID = "fingerprint"

var idPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ParseKeyset reads a keyset as it stands in a file, an environment variable or a Kubernetes secret: a key a line, the first is the one that
// seals, and a line for fingerprints anywhere. Empty lines and those that begin with # are passed over. A secret is 32 bytes in base64, as
// of openssl rand -base64 32.
//
//	2025-06:4IpCWO9h1xCVqXlpoOjuH1bTDsqdh6zBWbcTMSmeLbA=
//	2024-11:mYxCrT3cXnpvWzW2bZEvGrGqzYHkQpGSx2cRGfbYtrE=
//	fingerprint:o6Cdz0mTEXjWeKUYzHfyWVsH0uO6BxqYyyyPTHcF1qA=
//
// The error names every line that is wrong, and shows none.
func ParseKeyset(text string) (Keyset, error) {
	var (
		keys Keyset
		errs []error
	)
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, encoded, found := strings.Cut(line, ":")
		if !found {
			errs = append(errs, fmt.Errorf("line %d is not of the form id:base64", n+1))
			continue
		}
		secret, err := parseSecret(strings.TrimSpace(encoded))
		switch id = strings.TrimSpace(id); {
		case err != nil:
			errs = append(errs, fmt.Errorf("line %d: %w", n+1, err))
		case id != fingerprintID:
			keys.Keys = append(keys.Keys, Key{ID: id, Secret: secret})
		case keys.Fingerprint != Secret{}:
			errs = append(errs, fmt.Errorf("line %d is a second %s", n+1, fingerprintID))
		default:
			keys.Fingerprint = secret
		}
	}
	if len(errs) == 0 { // or what is missing is on a line that is wrong
		errs = append(errs, keys.check())
	}
	if err := errors.Join(errs...); err != nil {
		return Keyset{}, fmt.Errorf("parse keyset: %w", err)
	}
	return keys, nil
}

func parseSecret(encoded string) (Secret, error) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(encoded, "="))
	if err != nil { // the error would show a part of it
		return Secret{}, errors.New("secret is not base64: make one with openssl rand -base64 32")
	}
	var s Secret
	if len(b) != len(s) {
		return Secret{}, fmt.Errorf("secret has %d bytes, not %d: make one with openssl rand -base64 32", len(b), len(s))
	}
	return Secret(b), nil
}

// check reports all that is wrong.
func (k Keyset) check() error {
	var errs []error
	if len(k.Keys) == 0 {
		errs = append(errs, errors.New("there is no key: give one at least"))
	}
	seen := map[string]bool{}
	for i, key := range k.Keys {
		switch {
		case !idPattern.MatchString(key.ID):
			errs = append(errs, fmt.Errorf("id of key %d is not 1 to 64 letters, digits, dots, - and _", i+1))
		case seen[key.ID] || key.ID == fingerprintID:
			errs = append(errs, fmt.Errorf("id %q of key %d is taken", key.ID, i+1))
		}
		if key.Secret == (Secret{}) {
			errs = append(errs, fmt.Errorf("key %d has no secret", i+1))
		}
		seen[key.ID] = true
	}
	if k.Fingerprint == (Secret{}) {
		errs = append(errs, fmt.Errorf("there is no secret for fingerprints: add a line %s:…, which stays when keys are rotated", fingerprintID))
	}
	return errors.Join(errs...)
}
