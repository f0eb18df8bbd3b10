package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/persistd/persistd/pkg/client"
)

// Why a value is not opened. The store wraps them: they match with errors.Is, beside [client.ErrInvalidState].
var (
	// ErrPlaintext says that a value is not sealed.
	ErrPlaintext = errors.New("value is not sealed: it was saved before there were keys (see seal.AllowPlaintext), or somebody replaced it")
	// ErrUnknownKey says that a value is sealed with a key that the keyset does not have.
	ErrUnknownKey = errors.New("value is sealed with another key: add that key to the keyset, after the first")
	// ErrTampered says that a value is not what was sealed for its place: it was changed, or was moved there from elsewhere.
	ErrTampered = errors.New("value is not what was sealed here: it was changed, or moved from another run, step or kind, or the key's secret is another one")
	// ErrVersion says that a value was sealed by a newer version of this package.
	ErrVersion = errors.New("value was sealed by a newer version: upgrade")
)

// Codec seals what another codec encodes. It may be used concurrently.
type Codec struct {
	inner     client.Codec
	plaintext bool
	secrets   func() *secrets // of a function printing shows the address, whatever the verb, and however deep it is
}

type secrets struct {
	keys        []Key
	fingerprint []byte
}

var _ client.Fingerprinter = (*Codec)(nil)

// Option changes a default of [New].
type Option func(*Codec)

// AllowPlaintext has values that are not sealed decoded as they are: while a database of before is migrated, and no longer, for whoever
// can write to the database can then replace a sealed value by one of their own. A value is sealed when it is saved the next time.
func AllowPlaintext() Option { return func(c *Codec) { c.plaintext = true } }

// WithInner sets what encodes the values before they are sealed; default [client.JSON]. It need not make JSON, unless plaintext is allowed.
func WithInner(codec client.Codec) Option { return func(c *Codec) { c.inner = codec } }

// New returns a codec that seals with the first key and opens with all. The error names all that is wrong.
func New(keys Keyset, opts ...Option) (*Codec, error) {
	kept := &secrets{keys: slices.Clone(keys.Keys)}
	c := &Codec{inner: client.JSON{}, secrets: func() *secrets { return kept }}
	for _, opt := range opts {
		opt(c)
	}
	err := keys.check()
	if c.inner == nil {
		err = errors.Join(err, errors.New("inner codec is nil"))
	}
	if err != nil {
		return nil, fmt.Errorf("make sealing codec: %w", err)
	}
	if kept.fingerprint, err = hkdf.Key(sha256.New, keys.Fingerprint[:], nil, domain+" fingerprint", sha256.Size); err != nil {
		return nil, fmt.Errorf("derive fingerprint key: %w", err)
	}
	return c, nil
}

const (
	// domain keeps apart what is made of a secret, here and by others.
	domain   = "persistd seal v1"
	saltSize = 16
	member   = "persistd_sealed"
	version  = 1
)

// Encode implements [client.Codec].
func (c *Codec) Encode(b client.Binding, v any) ([]byte, error) {
	plain, err := c.inner.Encode(b, v)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did.
	}
	key := &c.secrets().keys[0]
	var salt [saltSize]byte
	rand.Read(salt[:])
	aead, err := key.aead(salt[:])
	if err != nil {
		return nil, err
	}
	box := append(make([]byte, 0, saltSize+aead.Overhead()+len(plain)), salt[:]...)
	box = aead.Seal(box, nil, plain, place(key.ID, b)) //nolint:gosec // G407: the nonce is drawn in Seal.
	out := make([]byte, 0, 64+len(key.ID)+base64.StdEncoding.EncodedLen(len(box)))
	out = append(out, `{"`+member+`":{"v":1,"key":"`...) // the id needs no escapes
	out = append(out, key.ID...)
	out = append(out, `","box":"`...)
	out = base64.StdEncoding.AppendEncode(out, box)
	return append(out, `"}}`...), nil
}

// Decode implements [client.Codec].
func (c *Codec) Decode(b client.Binding, data []byte, v any) error {
	sealed, err := parse(data)
	if errors.Is(err, ErrPlaintext) && c.plaintext {
		return c.inner.Decode(b, data, v) //nolint:wrapcheck // it says what it did.
	}
	if err != nil {
		return err
	}
	plain, err := c.open(b, sealed)
	if err != nil {
		return err
	}
	return c.inner.Decode(b, plain, v) //nolint:wrapcheck // it says what it did.
}

// Fingerprint implements [client.Fingerprinter].
func (c *Codec) Fingerprint(b client.Binding, v any) ([]byte, error) {
	encode := c.inner.Encode
	if f, ok := c.inner.(client.Fingerprinter); ok {
		encode = f.Fingerprint
	}
	plain, err := encode(b, v)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, c.secrets().fingerprint)
	mac.Write(place("", b))
	mac.Write(plain)
	out := hex.AppendEncode([]byte{'"'}, mac.Sum(nil))
	return append(out, '"'), nil
}

// aead is the cipher of one value. Seal puts a random nonce before what it makes, and Open takes it from there.
func (k *Key) aead(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.Secret[:], salt, domain+" value", 32)
	if err != nil {
		return nil, fmt.Errorf("derive value key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return aead, nil
}

// place is what a value is bound to. No two places have the same bytes: each part says how long it is.
func place(keyID string, b client.Binding) []byte {
	var p []byte
	for _, part := range []string{domain, keyID, b.Kind, b.ID} {
		p = binary.BigEndian.AppendUint64(p, uint64(len(part)))
		p = append(p, part...)
	}
	return binary.BigEndian.AppendUint64(p, uint64(b.Step)) //nolint:gosec // G115: any 64 bits.
}

type sealed struct {
	V   int    `json:"v"`
	Key string `json:"key"`
	Box []byte `json:"box"`
}

// parse reads a sealed value. What has the member of one is one, or was.
func parse(data []byte) (*sealed, error) {
	var outer map[string]json.RawMessage
	if err := json.Unmarshal(data, &outer); err != nil || outer[member] == nil {
		return nil, ErrPlaintext
	}
	var s sealed
	dec := json.NewDecoder(bytes.NewReader(outer[member]))
	dec.DisallowUnknownFields()
	err := dec.Decode(&s)
	switch {
	case s.V > version:
		return nil, fmt.Errorf("%w: version %d is not %d", ErrVersion, s.V, version)
	case err != nil || len(outer) > 1 || s.V != version || len(s.Box) < saltSize: // the cause would show a part of it
		return nil, fmt.Errorf("%w: it is malformed", ErrTampered)
	}
	return &s, nil
}

func (c *Codec) open(b client.Binding, s *sealed) ([]byte, error) {
	keys := c.secrets().keys
	for i := range keys {
		key := &keys[i]
		if key.ID != s.Key {
			continue
		}
		aead, err := key.aead(s.Box[:saltSize])
		if err != nil {
			return nil, err
		}
		plain, err := aead.Open(nil, nil, s.Box[saltSize:], place(key.ID, b))
		if err != nil { // it says nothing but that
			return nil, fmt.Errorf("%w: key %q", ErrTampered, key.ID)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("%w: key %.64q", ErrUnknownKey, s.Key)
}
