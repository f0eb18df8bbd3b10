package seal_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
	"github.com/persistd/persistd/pkg/client/seal"
	"github.com/persistd/persistd/pkg/client/storetest"
)

// secretOf is a secret that is the same in every run of the tests.
func secretOf(seed byte) (s seal.Secret) {
	for i := range s {
		s[i] = seed + byte(i)
	}
	return s
}

func keyset(ids ...string) seal.Keyset {
	keys := seal.Keyset{Fingerprint: secretOf(200)}
	for _, id := range ids {
		keys.Keys = append(keys.Keys, seal.Key{ID: id, Secret: secretOf(id[0])})
	}
	return keys
}

func newCodec(t testing.TB, keys seal.Keyset, opts ...seal.Option) *seal.Codec {
	t.Helper()
	codec, err := seal.New(keys, opts...)
	require.NoError(t, err)
	return codec
}

var here = client.Binding{Kind: client.KindStep, ID: "run", Step: 3}

func sealed(t testing.TB, codec *seal.Codec, v any) []byte {
	t.Helper()
	data, err := codec.Encode(here, v)
	require.NoError(t, err)
	return data
}

// opens returns what data holds for b, or why it does not open.
func opens(codec *seal.Codec, b client.Binding, data []byte) (string, error) {
	var v string
	err := codec.Decode(b, data, &v)
	return v, err
}

func TestAStoreThatSealsDoesAllThatAStoreDoes(t *testing.T) {
	t.Parallel()
	data, codec := client.NewMemStore[storetest.State](), newCodec(t, keyset("a"))
	storetest.Run(t, func(_ *testing.T, s storetest.Settings) client.Store[storetest.State] {
		return data.Open(append(s.Options(), client.WithCodec(codec))...)
	}, storetest.AnyDepth())
}

func TestASealedValueIsJSONWithNothingOfTheValueInIt(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, keyset("2025-06", "old"))
	data := sealed(t, codec, "secret text")
	var got map[string]map[string]any
	require.NoError(t, json.Unmarshal(data, &got))
	require.Len(t, got, 1)
	require.Equal(t, 1.0, got["persistd_sealed"]["v"])
	require.Equal(t, "2025-06", got["persistd_sealed"]["key"], "the first key seals")
	box, err := base64.StdEncoding.DecodeString(got["persistd_sealed"]["box"].(string))
	require.NoError(t, err)
	require.NotContains(t, string(box), "secret")
	require.Len(t, box, 16+12+len(`"secret text"`)+16)
	require.NotEqual(t, data, sealed(t, codec, "secret text"), "equal values are not seen to be equal")
	v, err := opens(codec, here, data)
	require.NoError(t, err)
	require.Equal(t, "secret text", v)
}

func TestAValueOpensAtItsPlaceOnly(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, keyset("a"))
	data := sealed(t, codec, "secret")
	for name, b := range map[string]client.Binding{
		"another run":                   {Kind: here.Kind, ID: "other", Step: here.Step},
		"another step":                  {Kind: here.Kind, ID: here.ID, Step: 4},
		"another kind":                  {Kind: client.KindCheckpointV2, ID: here.ID, Step: here.Step},
		"none":                          {},
		"parts that are cut otherwise":  {Kind: here.Kind + "r", ID: "un", Step: here.Step},
		"parts that are cut before":     {Kind: "ste", ID: "prun", Step: here.Step},
		"a run of another case":         {Kind: here.Kind, ID: "Run", Step: here.Step},
		"the step with its sign turned": {Kind: here.Kind, ID: here.ID, Step: -here.Step},
	} {
		v, err := opens(codec, b, data)
		require.ErrorIs(t, err, seal.ErrTampered, name)
		require.Empty(t, v)
	}
}

func TestWhatWasChangedDoesNotOpen(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, keyset("a", "b"))
	data := sealed(t, codec, "secret")
	var s struct {
		Sealed struct {
			V   int    `json:"v"`
			Key string `json:"key"`
			Box []byte `json:"box"`
		} `json:"persistd_sealed"`
	}
	require.NoError(t, json.Unmarshal(data, &s))
	for i := range s.Sealed.Box { // salt, nonce, ciphertext and tag
		changed := s
		changed.Sealed.Box = append([]byte(nil), s.Sealed.Box...)
		changed.Sealed.Box[i] ^= 1
		requireRefused(t, codec, changed, seal.ErrTampered)
	}
	for n := range s.Sealed.Box {
		changed := s
		changed.Sealed.Box = s.Sealed.Box[:n]
		requireRefused(t, codec, changed, seal.ErrTampered)
	}
	changed := s
	changed.Sealed.Box = append(append([]byte(nil), s.Sealed.Box...), 0)
	requireRefused(t, codec, changed, seal.ErrTampered)
	changed = s
	changed.Sealed.Key = "b"
	requireRefused(t, codec, changed, seal.ErrTampered)
	changed.Sealed.Key = "c"
	requireRefused(t, codec, changed, seal.ErrUnknownKey)
	changed = s
	changed.Sealed.V = 2
	requireRefused(t, codec, changed, seal.ErrVersion)
	changed.Sealed.V = 0
	requireRefused(t, codec, changed, seal.ErrTampered)
	text := string(data)
	for name, malformed := range map[string]string{
		"an unknown member":     strings.Replace(text, `"v":1`, `"v":1,"x":1`, 1),
		"a member beside it":    strings.Replace(text, `}}`, `},"x":1}`, 1),
		"a box that is no text": `{"persistd_sealed":{"v":1,"key":"a","box":7}}`,
		"a box not in base64":   `{"persistd_sealed":{"v":1,"key":"a","box":"?"}}`,
		"null":                  `{"persistd_sealed":null}`,
		"an array":              `{"persistd_sealed":[]}`,
		"nothing":               `{"persistd_sealed":{}}`,
	} {
		for _, codec := range []*seal.Codec{codec, newCodec(t, keyset("a", "b"), seal.AllowPlaintext())} {
			v, err := opens(codec, here, []byte(malformed))
			require.ErrorIs(t, err, seal.ErrTampered, name)
			require.Empty(t, v)
		}
	}
}

func requireRefused(t *testing.T, codec *seal.Codec, changed any, is error) {
	t.Helper()
	data, err := json.Marshal(changed)
	require.NoError(t, err)
	v, err := opens(codec, here, data)
	require.ErrorIs(t, err, is)
	require.Empty(t, v)
}

func TestAnotherSecretUnderTheSameIDDoesNotOpen(t *testing.T) {
	t.Parallel()
	keys := keyset("a")
	data := sealed(t, newCodec(t, keys), "secret")
	keys.Keys[0].Secret[31] ^= 1
	_, err := opens(newCodec(t, keys), here, data)
	require.ErrorIs(t, err, seal.ErrTampered)
	require.ErrorContains(t, err, "key's secret is another one")
}

func TestWhatMySQLMakesOfASealedValueOpens(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, keyset("a"))
	var s struct {
		Sealed struct{ Box, Key string } `json:"persistd_sealed"`
	}
	require.NoError(t, json.Unmarshal(sealed(t, codec, "secret"), &s))
	normalised := fmt.Sprintf(`{"persistd_sealed": {"v": 1, "box": "%s", "key": "%s"}}`, s.Sealed.Box, s.Sealed.Key)
	v, err := opens(codec, here, []byte(normalised))
	require.NoError(t, err)
	require.Equal(t, "secret", v)
	spaced := "\n{ \"persistd_sealed\" :\t{\"box\":\"" + strings.ReplaceAll(s.Sealed.Box, "/", `\/`) + "\" , \"key\": \"\\u0061\", \"v\":1 }\r}\n"
	v, err = opens(codec, here, []byte(spaced))
	require.NoError(t, err)
	require.Equal(t, "secret", v)
}

func TestPlaintextIsRefusedUnlessItIsAllowed(t *testing.T) {
	t.Parallel()
	strict, migrating := newCodec(t, keyset("a")), newCodec(t, keyset("a"), seal.AllowPlaintext())
	for _, plain := range []string{`"text"`, `null`, `{}`, `[]`, `{"sealed":{"v":1}}`, `"persistd_sealed"`, `["persistd_sealed"]`} {
		var v any
		err := strict.Decode(here, []byte(plain), &v)
		require.ErrorIs(t, err, seal.ErrPlaintext, plain)
		require.ErrorContains(t, err, "AllowPlaintext")
		require.Nil(t, v)
		require.NoError(t, migrating.Decode(here, []byte(plain), &v))
		loaded, err := json.Marshal(v)
		require.NoError(t, err)
		require.JSONEq(t, plain, string(loaded))
	}
	v, err := opens(migrating, here, sealed(t, strict, "secret"))
	require.NoError(t, err)
	require.Equal(t, "secret", v)
}

func TestAnErrorShowsNeitherTheValueNorAKey(t *testing.T) {
	t.Parallel()
	keys := keyset("a")
	codec := newCodec(t, keys)
	st := client.NewMemStore[string](client.WithCodec(codec))
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", "confidential"))
	for _, other := range []*seal.Codec{newCodec(t, keyset("b")), newCodec(t, seal.Keyset{Keys: []seal.Key{{ID: "a", Secret: secretOf(1)}}, Fingerprint: secretOf(2)})} {
		_, _, err := st.Open(client.WithCodec(other)).LoadLatest(t.Context(), "run")
		require.ErrorIs(t, err, client.ErrInvalidState)
		require.NotContains(t, err.Error(), "confidential")
		require.NotContains(t, err.Error(), "another type", "the store's guess would lead astray")
	}
	err := codec.Decode(here, sealed(t, codec, "confidential"), new(int))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "confidential")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, printed := range []any{keys, &keys, keys.Keys, keys.Keys[0], keys.Fingerprint, codec, *codec, st, struct{ c client.Codec }{codec}} {
			text := fmt.Sprintf(verb, printed)
			for _, secret := range []seal.Secret{keys.Keys[0].Secret, keys.Fingerprint} {
				require.NotContains(t, text, secret.Reveal())
				require.NotContains(t, text, fmt.Sprintf("%d %d %d", secret[0], secret[1], secret[2]))
				require.NotContains(t, text, fmt.Sprintf("%02x%02x%02x", secret[0], secret[1], secret[2]))
				require.NotContains(t, text, fmt.Sprintf("%#x, %#x", secret[0], secret[1]))
			}
		}
	}
	logged, err := json.Marshal(keys)
	require.NoError(t, err)
	require.JSONEq(t, `{"Keys":[{"ID":"a","Secret":"[redacted]"}],"Fingerprint":"[redacted]"}`, string(logged))
}

// upper is an inner codec whose output is no JSON.
type upper struct{}

func (upper) Encode(_ client.Binding, v any) ([]byte, error) {
	return []byte(strings.ToUpper(v.(string))), nil
}

func (upper) Decode(_ client.Binding, data []byte, v any) error {
	*v.(*string) = string(data)
	return nil
}

func TestWhatIsSealedIsUpToAnotherCodec(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, keyset("a"), seal.WithInner(upper{}))
	data := sealed(t, codec, "text")
	require.True(t, json.Valid(data))
	v, err := opens(codec, here, data)
	require.NoError(t, err)
	require.Equal(t, "TEXT", v)
	_, err = newCodec(t, keyset("a")).Encode(here, make(chan int))
	require.Error(t, err)
}

func TestWhatVersion1SealedOpensForEver(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, keyset("a"))
	v, err := opens(codec, here, []byte(`{"persistd_sealed":{"v":1,"key":"a","box":"5fArrYJlrxvs5dOamwbAdXTeFdntKwJ4N+7RiRcb5mfU7FIBv4TLVMGipwJo6ntu+RZbr3PIuADOpqlXDk68xZs="}}`))
	require.NoError(t, err)
	require.Equal(t, "sealed by version 1", v)
	fingerprint, err := codec.Fingerprint(here, "sealed by version 1")
	require.NoError(t, err)
	require.Equal(t, `"55beb40e970c1208c95245f691ea82bee4b16a00dae2c3b7f82188079a18cebb"`, string(fingerprint))
}

func FuzzDecode(f *testing.F) {
	codec := newCodec(f, keyset("a", "b"))
	for _, v := range []any{"secret", nil, map[string]int{"a": 1}} {
		f.Add(sealed(f, codec, v))
	}
	f.Add([]byte(`{"persistd_sealed":{"v":1,"key":"a","box":""}}`))
	f.Add([]byte(`{"n":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if err := codec.Decode(here, data, &v); err == nil {
			require.Contains(t, []any{"secret", nil, map[string]any{"a": 1.0}}, v, "only what was sealed opens")
			return
		}
		require.Nil(t, v)
		elsewhere := client.Binding{Kind: here.Kind, ID: "elsewhere", Step: here.Step}
		require.Error(t, codec.Decode(elsewhere, data, &v))
	})
}
