package seal_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client/seal"
)

func TestAKeysetIsReadAsItStandsInAFile(t *testing.T) {
	t.Parallel()
	a, b, f := secretOf(1), secretOf(2), secretOf(3)
	text := "# of the team\r\n\n fingerprint: " + f.Reveal() + " \n2025-06:" + a.Reveal() + "\n\told_1.x : " + strings.TrimRight(b.Reveal(), "=") + "\n"
	keys, err := seal.ParseKeyset(text)
	require.NoError(t, err)
	require.Equal(t, seal.Keyset{Keys: []seal.Key{{ID: "2025-06", Secret: a}, {ID: "old_1.x", Secret: b}}, Fingerprint: f}, keys)
	_, err = seal.New(keys)
	require.NoError(t, err)
}

func TestTheKeysetOfTheDocumentationIsRead(t *testing.T) {
	t.Parallel()
	keys, err := seal.ParseKeyset(`
2025-06:4IpCWO9h1xCVqXlpoOjuH1bTDsqdh6zBWbcTMSmeLbA=
2024-11:mYxCrT3cXnpvWzW2bZEvGrGqzYHkQpGSx2cRGfbYtrE=
fingerprint:o6Cdz0mTEXjWeKUYzHfyWVsH0uO6BxqYyyyPTHcF1qA=
`)
	require.NoError(t, err)
	require.Len(t, keys.Keys, 2)
}

func TestAKeysetThatIsWrongIsRefusedWithAllThatIsWrongAndNoneOfItShown(t *testing.T) {
	t.Parallel()
	good := secretOf(1).Reveal()
	fingerprint := "fingerprint:" + secretOf(2).Reveal() + "\n"
	for _, row := range []struct {
		name, text string
		reasons    []string
	}{
		{"nothing", "", []string{"no key", "no secret for fingerprints"}},
		{"no fingerprint", "a:" + good, []string{"no secret for fingerprints", "fingerprint:"}},
		{"no key", fingerprint, []string{"no key"}},
		{"two fingerprints", fingerprint + fingerprint + "a:" + good, []string{"line 2 is a second fingerprint"}},
		{"an id twice", fingerprint + "a:" + good + "\na:" + good, []string{`id "a" of key 2 is taken`}},
		{"an id with a blank", fingerprint + "a b:" + good, []string{"id of key 1"}},
		{"an id that is empty", fingerprint + ":" + good, []string{"id of key 1"}},
		{"an id that is too long", fingerprint + strings.Repeat("x", 65) + ":" + good, []string{"id of key 1"}},
		{"a secret without an id", fingerprint + good, []string{"line 2 is not of the form id:base64"}},
		{"secrets that are too short, too long, and no base64", "a:" + good[:8] + "\nb:" + good[:40] + good + "\nc:CONFIDENTIAL?\nd:", []string{
			"line 1: secret has 6 bytes, not 32", "line 2: secret has", "line 3: secret is not base64", "line 4: secret has 0 bytes",
		}},
		{"a secret of zeros", fingerprint + "a:" + base64.StdEncoding.EncodeToString(make([]byte, 32)), []string{"key 1 has no secret"}},
	} {
		_, err := seal.ParseKeyset(row.text)
		require.Error(t, err, row.name)
		for _, reason := range row.reasons {
			require.ErrorContains(t, err, reason, row.name)
		}
		require.NotContains(t, err.Error(), good[:8])
		require.NotContains(t, err.Error(), "CONFIDENTIAL")
	}
	_, err := seal.New(seal.Keyset{}, seal.WithInner(nil))
	require.ErrorContains(t, err, "no key")
	require.ErrorContains(t, err, "inner codec")
}

func TestSecretsAreDrawnAndReadBack(t *testing.T) {
	t.Parallel()
	a, b := seal.NewSecret(), seal.NewSecret()
	require.NotEqual(t, a, b)
	keys, err := seal.ParseKeyset("a:" + a.Reveal() + "\nfingerprint:" + b.Reveal())
	require.NoError(t, err)
	require.Equal(t, a, keys.Keys[0].Secret)
	require.Equal(t, b, keys.Fingerprint)
}
