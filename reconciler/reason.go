package reconciler

// Code names why something was refused, is waited for, or went wrong. Codes are a
// contract: they stand in status, metrics, logs and receipts, and are never renamed.
type Code string

// The codes, by who must act. [Reasons] says what each means.
const (
	// Refused: a person must act.
	SpecMissing       Code = "SpecMissing"
	SpecNotRegular    Code = "SpecNotRegular"
	SpecTooLarge      Code = "SpecTooLarge"
	SpecInvalid       Code = "SpecInvalid"
	SignatureMissing  Code = "SignatureMissing"
	SignatureStale    Code = "SignatureStale"
	SignatureInvalid  Code = "SignatureInvalid"
	SignerUnknown     Code = "SignerUnknown"
	WrongEnvironment  Code = "WrongEnvironment"
	VersionUnchanged  Code = "VersionUnchanged"
	VersionReused     Code = "VersionReused"
	NotAuthorized     Code = "NotAuthorized"
	WrongPrevious     Code = "WrongPrevious"
	LegacyReaders     Code = "LegacyReaders"
	TooManyRemoved    Code = "TooManyRemoved"
	Unsigned          Code = "Unsigned"
	PersonalData      Code = "PersonalData"
	CommitUnsigned    Code = "CommitUnsigned"
	CommitSignature   Code = "CommitSignatureInvalid"
	Replayed          Code = "Replayed"
	RaisesExposure    Code = "RaisesExposure"
	SignersRevoked    Code = "SignersRevoked"
	BranchRewound     Code = "BranchRewound"
	BranchRewritten   Code = "BranchRewritten"
	BranchUnrelated   Code = "BranchUnrelated"
	NoTrustedStart    Code = "NoTrustedStart"
	ColdStartDiverges Code = "ColdStartDiverges"

	// The policy in the repository is refused: a person must act.
	PolicyInvalid        Code = "PolicyInvalid"
	PolicyMissing        Code = "PolicyMissing"
	PolicyUnsigned       Code = "PolicyUnsigned"
	PolicyReplayed       Code = "PolicyReplayed"
	PolicySkipped        Code = "PolicySkipped"
	PolicyPrevious       Code = "PolicyPrevious"
	PolicyEnvironment    Code = "PolicyEnvironment"
	PolicyNobody         Code = "PolicyNobody"
	PolicyOldMaintainers Code = "PolicyOldMaintainers"
	PolicyNewMaintainers Code = "PolicyNewMaintainers"

	// Waiting: time alone brings it.
	TooSoon        Code = "TooSoon"
	BehindDeferred Code = "BehindDeferred"
	NotLeader      Code = "NotLeader"
	StillJudging   Code = "StillJudging"

	// Trouble: trying again may help.
	FetchFailed      Code = "FetchFailed"
	StoreUnavailable Code = "StoreUnavailable"
	StoreConflict    Code = "StoreConflict"
	StateUnwritable  Code = "StateUnwritable"
	RecordFailed     Code = "RecordFailed"
	TrustUnreadable  Code = "TrustUnreadable"

	// Good or neutral: the reasons of conditions that are as they should be.
	CodeLive     Code = "Live"
	Held         Code = "Held"
	NotYet       Code = "NotYet"
	Accepted     Code = "Accepted"
	NoDrift      Code = "NoDrift"
	Repaired     Code = "Repaired"
	Reachable    Code = "Reachable"
	Fetched      Code = "Fetched"
	Descends     Code = "Descends"
	UnsignedOK   Code = "UnsignedAccepted"
	StoreRefill  Code = "StoreRefilled"
	ApplyPending Code = "ApplyPending"
)

// Class sorts codes by who must act.
type Class string

// The classes of codes.
const (
	ClassRefused Class = "refused" // a person must act
	ClassWaiting Class = "waiting" // nobody must act
	ClassTrouble Class = "trouble" // nobody yet: it is tried again
	ClassFine    Class = "fine"
)

// Reason explains a code to a person.
type Reason struct {
	Code    Code
	Class   Class
	Meaning string
	Do      string // the next step, "" where there is none
}

// Reasons is the table of all codes, in the order of docs/reconcile.md, which a test
// holds against it.
var Reasons = []Reason{
	{SpecMissing, ClassRefused, "The commit has no file at the spec's path.", "bring the file back, or set --path"},
	{SpecNotRegular, ClassRefused, "The spec's path is a symlink, a folder or a submodule.", "commit the spec as a plain file"},
	{SpecTooLarge, ClassRefused, "The spec is larger than 32 MiB.", "split it over several environments"},
	{SpecInvalid, ClassRefused, "The spec breaks the format; the message names line, column and pointer.", "mend it: propose validate"},
	{SignatureMissing, ClassRefused, "No bundle lies beside the spec.", "sign it: propose sign --key KEY"},
	{SignatureStale, ClassRefused, "Every bundle was made for other bytes: the file was changed after signing, or a merge mixed two signed files.", "sign the file as it is: propose sign --key KEY; after a merge: propose resolve"},
	{SignatureInvalid, ClassRefused, "The bundles are damaged, of a kind that does not count, or their signature does not verify.", "sign it again: propose sign --key KEY"},
	{SignerUnknown, ClassRefused, "Nobody whom the trust policy names signed the spec.", "have a signer of the policy sign it, or add the signer to the policy"},
	{WrongEnvironment, ClassRefused, "The spec is signed for another environment, or for none.", "set \"environment\" in the spec and sign it"},
	{VersionUnchanged, ClassRefused, "The content changed and its version did not.", "give it the next version: propose set does so by itself"},
	{VersionReused, ClassRefused, "The version stood for other content before.", "give it a version that was never used"},
	{NotAuthorized, ClassRefused, "The signers' roles do not cover every change since the last accepted spec; the message names each uncovered one.", "have someone sign whose role may make the change"},
	{Unsigned, ClassRefused, "The signatures are valid and none of them counts any more: the signers have expired or are in no role.", "have someone sign whose role may make the change"},
	{WrongPrevious, ClassRefused, "The policy asks for an unbroken chain, and the spec was made from another one than the last accepted.", "make the change anew on what is live: propose resolve"},
	{LegacyReaders, ClassRefused, "The policy promises older clients that they can read every entry, and this spec has a salt or a hashed member.", "take it out, or end the promise in the policy"},
	{TooManyRemoved, ClassRefused, "More entries would leave at once than the policy's limits allow.", "remove them in several commits, or raise the limits"},
	{PersonalData, ClassRefused, "The change brings personal data, and the policy denies it (pii).", "write members as sha256:<hex>, leave the rest out, or name what is none in the policy's pii.allow"},
	{CommitUnsigned, ClassRefused, "The policy asks for signed commits, and neither this commit nor the newest one has a signature.", "sign the commit: git commit -S; a signed commit on top will do"},
	{CommitSignature, ClassRefused, "The policy asks for signed commits, and the commit's signature does not verify, is of another kind, or is nobody's whom the policy names.", "sign with a key that the policy names (ssh or pgp of a signer)"},
	{Replayed, ClassRefused, "The content was accepted before and lies outside the rollback window.", "make it anew as a signed version: propose rollback --key KEY"},
	{RaisesExposure, ClassRefused, "The content was accepted before, and going back to it would turn something on for more people.", "make it anew as a signed version: propose rollback --key KEY"},
	{SignersRevoked, ClassRefused, "The content was accepted before, and those who signed it no longer may. Where it is live it stays, and nothing rises.", "make it anew as a signed version: propose rollback --key KEY; what is live: have a maintainer sign it, propose sign --key KEY"},
	{BranchRewound, ClassRefused, "The branch points to an ancestor of the last accepted commit.", "push the branch forward again; take flags back with git revert"},
	{BranchRewritten, ClassRefused, "The branch was force-pushed: the last accepted commit is no longer in its history.", "restore the branch, or accept the new history deliberately: reconcile accept-history COMMIT --reason TEXT --key KEY"},
	{BranchUnrelated, ClassRefused, "The branch has no commit in common with the last accepted one.", "check --repo and --branch; restore the branch"},
	{NoTrustedStart, ClassRefused, "There is no state yet, and no commit of the branch carries a spec signed by a role that may do everything (\"*\").", "have a maintainer sign the spec: propose sign --key KEY"},
	{ColdStartDiverges, ClassRefused, "There is no state, and what git says differs from the entries that are live.", "compare with reconcile plan; then allow it by name: --accept-cold-start COMMIT"},
	{PolicyInvalid, ClassRefused, "The next trust policy in the repository breaks the format, is too large or is no plain file.", "mend it: propose policy verify"},
	{PolicyMissing, ClassRefused, "The trust policy that is in force came from the repository and is gone from it. It stays in force.", "bring the file back"},
	{PolicyUnsigned, ClassRefused, "The trust policy in the repository is another one than the one in force, and no signature on it verifies.", "have the maintainers sign it: propose policy sign; where the reconciler is to follow the file of --trust alone: --trust-path none"},
	{PolicyReplayed, ClassRefused, "The trust policy in the repository was in force before, or its number is not above the one in force.", "bring the newest policy back, and change that: propose policy next"},
	{PolicySkipped, ClassRefused, "The trust policy's number is more than one above the one in force.", "land the ones between first; or make it anew: propose policy next"},
	{PolicyPrevious, ClassRefused, "The trust policy names another policy before it than the one in force, or none.", "make it from the one in force: propose policy next"},
	{PolicyEnvironment, ClassRefused, "The trust policy is for another environment.", "keep the environment; another one has a policy and a reconciler of its own"},
	{PolicyNobody, ClassRefused, "Under the trust policy nobody could do everything any more, and so nobody could ever change it again.", "keep a role that may \"*\", without bounds, whose threshold can be reached"},
	{PolicyOldMaintainers, ClassRefused, "The maintainers of the policy in force have not signed the next one in sufficient number.", "have them sign it: propose policy sign"},
	{PolicyNewMaintainers, ClassRefused, "The next trust policy's own maintainers have not signed it in sufficient number.", "have them sign it: propose policy sign"},
	{TooSoon, ClassWaiting, "An increase came sooner than min_interval allows. It is taken when its time has come.", ""},
	{BehindDeferred, ClassWaiting, "The commit builds on one that is deferred.", ""},
	{NotLeader, ClassWaiting, "Another instance leads: it makes live what is authorized, and this one follows.", ""},
	{StillJudging, ClassWaiting, "There is more on the branch than one pass judges; the next one goes on where it stopped.", ""},
	{FetchFailed, ClassTrouble, "The repository or the branch could not be read.", "check --repo, --branch, the network and the credentials"},
	{StoreUnavailable, ClassTrouble, "Redis could not be read or written.", "check --redis and the server"},
	{StoreConflict, ClassTrouble, "Another writer changed what is live between plan and write; nothing was written.", ""},
	{StateUnwritable, ClassTrouble, "The state folder cannot be written, so nothing new is accepted.", "check free space and permissions of --state-dir"},
	{RecordFailed, ClassTrouble, "The intent could not be recorded, so nothing was turned on for anybody.", "look at the recorder's own message"},
	{TrustUnreadable, ClassTrouble, "The trust policy cannot be read any more; the last one that could stays in force.", "mend the file that --trust names"},
	{CodeLive, ClassFine, "The newest spec in git is live.", ""},
	{Held, ClassFine, "The last good generation is live; the newest commit is not.", ""},
	{NotYet, ClassFine, "Nothing has been looked at yet.", ""},
	{Accepted, ClassFine, "The newest commit's spec was accepted.", ""},
	{NoDrift, ClassFine, "The store holds what was applied.", ""},
	{Repaired, ClassFine, "Entries in the store differed from what was applied and were put right.", ""},
	{Reachable, ClassFine, "The store answers.", ""},
	{Fetched, ClassFine, "The branch was read.", ""},
	{Descends, ClassFine, "The branch descends from the last accepted commit.", ""},
	{UnsignedOK, ClassFine, "Signatures are not checked: --insecure-accept-unsigned.", ""},
	{StoreRefill, ClassFine, "The store had lost its content and was filled again.", ""},
	{ApplyPending, ClassFine, "A generation is accepted and not live yet.", ""},
}

// ReasonFor is the table's row for code; an unknown code has an empty row.
func ReasonFor(code Code) Reason {
	for _, r := range Reasons {
		if r.Code == code {
			return r
		}
	}
	return Reason{Code: code}
}
