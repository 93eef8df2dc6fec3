package signing

import "errors"

// Why a bundle does not count. [Verify] puts one of these, wrapped with the
// particulars, in [Rejected.Reason].
var (
	// ErrTooLarge: the bundle is larger than [MaxBundle].
	ErrTooLarge = errors.New("bundle is too large")
	// ErrTooMany: more than [MaxBundles] bundles lie beside one file.
	ErrTooMany = errors.New("too many bundles")
	// ErrUnread: the caller could not read the bundle ([NamedBundle.Err]).
	ErrUnread = errors.New("bundle was not read")
	// ErrMalformed: the file is not a sigstore bundle this package can read.
	ErrMalformed = errors.New("not a sigstore bundle")
	// ErrLegacyBundle: the file is of the older cosign form (base64Signature).
	ErrLegacyBundle = errors.New("bundle has cosign's older form")
	// ErrDSSE: the bundle holds an attestation, which is not a signature on the file.
	ErrDSSE = errors.New("bundle holds a DSSE attestation, not a message signature")
	// ErrOtherBytes: the bundle was made for other bytes (it is stale).
	ErrOtherBytes = errors.New("bundle was made for other bytes")
	// ErrUnknownSigner: no identity that was asked for made the bundle.
	ErrUnknownSigner = errors.New("unknown signer")
	// ErrBadSignature: the bundle names a known signer, and the signature is wrong.
	ErrBadSignature = errors.New("signature does not verify")
	// ErrNoKeyless: the bundle is keyless, and the caller cannot check those.
	ErrNoKeyless = errors.New("keyless bundle, and no trusted root to check it with")
)

// What can be wrong with a key.
var (
	// ErrKey: the key cannot be read or is of a kind that is not supported.
	ErrKey = errors.New("unusable key")
	// ErrPassword: the private key is encrypted and the password does not open it.
	ErrPassword = errors.New("wrong password, or a damaged key file")
)
