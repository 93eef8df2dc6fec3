// Package pii finds what names a person in the identifiers and texts of a spec: e-mail addresses, IP and hardware addresses,
// phone, payment card, bank account and social security numbers.
//
// It works on meaning where a library knows it (numbering plans, check digits, address syntax) and on form elsewhere. What it
// must not do is cry wolf: flags are full of ids, hashes, versions and host names. docs/pii.md has the measured rates; the
// corpus behind them is testdata/corpus.tsv.
package pii

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// Kind says what was found.
type Kind string

// The kinds.
const (
	Email Kind = "email"
	IP    Kind = "ip"
	MAC   Kind = "mac"
	Phone Kind = "phone"
	Card  Kind = "card"
	IBAN  Kind = "iban"
	SSN   Kind = "ssn"
)

// Finding is one match in a text. Start and End are byte offsets.
type Finding struct {
	Kind       Kind
	Start, End int
}

// Redact hides a matched text for messages and logs: its first character and its length are left.
func Redact(match string) string {
	for _, r := range match {
		return string(r) + strings.Repeat("*", min(len(match)-1, 8))
	}
	return ""
}

// regions whose national notation of phone numbers is recognised, when it is punctuated as people write it.
// Numbers in international notation are recognised for every region.
var regions = []string{"US", "GB", "DE", "FR", "ES", "IT", "NL", "IN", "BR", "AU"}

var (
	emailForm = regexp.MustCompile(`(?i)[\p{L}\p{N}._%+'-]+(?:@|%40)(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+[\p{L}]{2,24}\b`)
	// A word in which an address may hide: digits, hex, dots and colons, with the brackets and zone of IPv6.
	addressForm = regexp.MustCompile(`[0-9A-Fa-f.:]{3,45}(?:%[0-9a-zA-Z]+)?`)
	macForm     = regexp.MustCompile(`(?i)(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}`)
	// Digits in groups as people write them; a bare run of digits is an id until a plus sign says otherwise.
	phoneForm = regexp.MustCompile(`(?:\+|\b00)[0-9][0-9 ()./-]{5,22}[0-9]|\(?\b0?[0-9]{1,5}\)?(?:[ ./-][0-9]{2,8}){1,5}|\([0-9]{2,5}\) ?[0-9]{3,5}(?:[ .-]?[0-9]{2,5})?`)
	cardForm  = regexp.MustCompile(`[0-9](?:[ -]?[0-9]){12,18}`)
	ibanForm  = regexp.MustCompile(`[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?`)
	ssnForm   = regexp.MustCompile(`[0-9]{3}-[0-9]{2}-[0-9]{4}`)
	dateForm  = regexp.MustCompile(`^(?:[0-9]{4}[-./ ][0-9]{1,2}[-./ ][0-9]{1,2}|[0-9]{1,2}[-./ ][0-9]{1,2}[-./ ][0-9]{4})`)
)

// Find returns what in text names a person, in order, without overlaps.
func Find(text string) []Finding {
	if len(text) < 6 { // the shortest: a@b.co
		return nil
	}
	var all []Finding
	for _, d := range detectors {
		if !strings.ContainsAny(text, d.needs) {
			continue
		}
		for _, span := range d.form.FindAllStringIndex(text, -1) {
			start, end, ok := d.check(text, span[0], span[1])
			if ok && !slices.ContainsFunc(all, func(f Finding) bool { return start < f.End && f.Start < end }) {
				all = append(all, Finding{d.kind, start, end})
			}
		}
	}
	slices.SortFunc(all, func(a, b Finding) int { return a.Start - b.Start })
	return all
}

// detectors in order of certainty: check digits before form.
var detectors = []struct {
	kind  Kind
	needs string // one of these characters must be there: most texts are passed over by this alone
	form  *regexp.Regexp
	check func(text string, start, end int) (int, int, bool)
}{
	{Email, "@%", emailForm, email},
	{IBAN, "0123456789", ibanForm, iban},
	{MAC, ":-.", macForm, mac},
	{IP, ".:", addressForm, address},
	{Card, "0123456789", cardForm, card},
	{SSN, "-", ssnForm, ssn},
	{Phone, "+0123456789", phoneForm, phone},
}

func email(text string, start, end int) (int, int, bool) {
	match := text[start:end]
	// git@host:path is an address of a repository, name@1.2 a package, and $user@ a template.
	if strings.HasPrefix(text[end:], ":") && !strings.HasPrefix(text[end:], ": ") && strings.HasPrefix(match, "git@") {
		return 0, 0, false
	}
	if strings.HasPrefix(text[end:], "/") && strings.HasPrefix(match, "git@") {
		return 0, 0, false
	}
	local, _, _ := strings.Cut(strings.ReplaceAll(match, "%40", "@"), "@")
	if strings.Trim(local, ".-_'%+") == "" {
		return 0, 0, false
	}
	return start, end, true
}

func address(text string, start, end int) (int, int, bool) {
	word := strings.TrimRight(text[start:end], ".:")
	end = start + len(word)
	// "src:192.0.2.1": the label's last letters may be hex digits.
	if label, v4, ok := strings.Cut(word, ":"); ok && !strings.ContainsAny(v4, ":") && strings.Count(v4, ".") == 3 && strings.IndexByte(label, '.') < 0 {
		start += len(label) + 1
		word = v4
	}
	if partOfWord(text, start, end) || strings.HasPrefix(text[end:], "/") && !strings.HasPrefix(text[end:], "/32") && !strings.HasPrefix(text[end:], "/128") && isDigit(text, end+1) {
		return 0, 0, false // a network names nobody
	}
	host := word
	if strings.Count(word, ":") == 1 { // host:port
		host, _, _ = strings.Cut(word, ":")
		end = start + len(host)
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast() || strings.HasPrefix(host, "255.") {
		return 0, 0, false
	}
	if addr.Is4() && versionBefore(text[:start]) {
		return 0, 0, false
	}
	if addr.Is6() && len(host) < 6 {
		return 0, 0, false
	}
	return start, end, true
}

// versionBefore reports whether what follows reads as a version: "v1.2.3.4", "version 1.2.3.4", "chrome/120.0.1.2", "app-1.2.3.4".
func versionBefore(before string) bool {
	before = strings.ToLower(strings.TrimRight(before, " =:("))
	for _, w := range []string{"v", "ver", "ver.", "version", "release", "build", "rev", "/", "-", "_", "@", "+"} {
		if strings.HasSuffix(before, w) && !strings.HasSuffix(before, "//") {
			return !strings.HasSuffix(before, "from/") && !strings.HasSuffix(before, "ip-") && !strings.HasSuffix(before, "ip_") && !strings.HasSuffix(before, "ip/")
		}
	}
	return false
}

func mac(text string, start, end int) (int, int, bool) {
	match := text[start:end]
	if partOfWord(text, start, end) || strings.Contains(match, ":") && strings.Contains(match, "-") {
		return 0, 0, false
	}
	bare := strings.ToLower(strings.NewReplacer(":", "", "-", "", ".", "").Replace(match))
	if strings.Trim(bare, "0") == "" || strings.Trim(bare, "f") == "" || !strings.ContainsAny(bare, "abcdef") && strings.Contains(match, "-") {
		return 0, 0, false // none, broadcast, and numbers in pairs
	}
	return start, end, true
}

func card(text string, start, end int) (int, int, bool) {
	digits := onlyDigits(text[start:end])
	if partOfWord(text, start, end) || !issued(digits) || !luhn(digits) {
		return 0, 0, false
	}
	return start, end, true
}

// issued reports whether a payment network issues numbers of this beginning and length (ISO/IEC 7812 ranges).
func issued(d string) bool {
	n, prefix := len(d), func(k int) int { return atoi(d[:k]) }
	switch {
	case n == 16 && d[0] == '4', n == 16 && prefix(2) >= 51 && prefix(2) <= 55, n == 16 && prefix(4) >= 2221 && prefix(4) <= 2720,
		n == 15 && (prefix(2) == 34 || prefix(2) == 37),
		n == 16 && (prefix(4) == 6011 || prefix(2) == 65 || prefix(3) >= 644 && prefix(3) <= 649),
		n == 16 && prefix(4) >= 3528 && prefix(4) <= 3589,
		n == 14 && (prefix(2) == 36 || prefix(2) == 38 || prefix(3) >= 300 && prefix(3) <= 305),
		n >= 16 && n <= 19 && prefix(2) == 62:
		return true
	}
	return false
}

// luhn checks the last digit (ISO/IEC 7812-1, annex B).
func luhn(d string) bool {
	sum := 0
	for i := range len(d) {
		n := int(d[len(d)-1-i] - '0')
		if i%2 == 1 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return sum%10 == 0
}

// iban checks length by country and the check digits (ISO 13616, mod 97).
func iban(text string, start, end int) (int, int, bool) {
	s := strings.ReplaceAll(text[start:end], " ", "")
	want, known := ibanLengths[s[:2]]
	if partOfWord(text, start, end) || !known || len(s) < want {
		return 0, 0, false
	}
	// A greedy match may have taken a word too many.
	for n := end; n > start; n-- {
		if part := strings.ReplaceAll(text[start:n], " ", ""); len(part) == want {
			s, end = part, n
			break
		}
	}
	rest := 0
	for _, c := range s[4:] + s[:4] {
		switch {
		case c >= '0' && c <= '9':
			rest = (rest*10 + int(c-'0')) % 97
		default:
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	return start, end, rest == 1
}

var ibanLengths = map[string]int{"AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20,
	"ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
	"MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29}

// ssn takes numbers that the Social Security Administration may have issued.
func ssn(text string, start, end int) (int, int, bool) {
	m := text[start:end]
	area, group, serial := m[:3], m[4:6], m[7:]
	if partOfWord(text, start, end) || area == "000" || area == "666" || area[0] == '9' || group == "00" || serial == "0000" {
		return 0, 0, false
	}
	return start, end, true
}

func phone(text string, start, end int) (int, int, bool) {
	match := text[start:end]
	if partOfWord(text, start, end) {
		return 0, 0, false
	}
	international := strings.HasPrefix(match, "+") || strings.HasPrefix(match, "00")
	if !international && (dateForm.MatchString(match) || versionBefore(text[:start]) || !grouped(match)) {
		return 0, 0, false
	}
	if international {
		if rest, ok := strings.CutPrefix(match, "00"); ok {
			match = "+" + rest
		}
		return start, end, valid(match, "ZZ")
	}
	for _, region := range regions {
		if valid(match, region) {
			return start, end, true
		}
	}
	return 0, 0, false
}

func valid(number, region string) bool {
	n, err := phonenumbers.Parse(number, region)
	return err == nil && phonenumbers.IsValidNumber(n)
}

// grouped reports whether digits stand as people write phone numbers: two to six groups, one kind of separator, and enough of
// them that it is no small id like "order 12 3456".
func grouped(s string) bool {
	digits := onlyDigits(s)
	if len(digits) < 9 || len(digits) > 13 {
		return false
	}
	separators := map[rune]int{}
	for _, r := range s {
		if r == ' ' || r == '.' || r == '-' || r == '/' {
			separators[r]++
		}
	}
	if strings.Contains(s, "(") {
		return true
	}
	// A national number begins with its trunk prefix, or is written the North American way.
	return len(separators) == 1 && (digits[0] == '0' || northAmerican.MatchString(s) || southEuropean.MatchString(s))
}

var (
	northAmerican = regexp.MustCompile(`^(?:1[ .-])?[2-9][0-9]{2}[ .-][2-9][0-9]{2}[ .-][0-9]{4}$`)
	// Spain and Italy have no trunk prefix.
	southEuropean = regexp.MustCompile(`^(?:[679][0-9]{2} [0-9]{3} [0-9]{3}|[679][0-9]{2} [0-9]{2} [0-9]{2} [0-9]{2}|3[0-9]{2} [0-9]{3} [0-9]{4}|3[0-9]{2} [0-9]{6,7})$`)
)

// partOfWord reports whether letters, digits or joining signs go on before or behind the match.
func partOfWord(text string, start, end int) bool {
	if start > 0 {
		c := text[start-1]
		if c == '_' || c == '.' && start > 1 && isWord(text[start-2]) || isWord(c) || c == '-' && start > 1 && isWord(text[start-2]) && !strings.HasSuffix(strings.ToLower(text[:start]), "ip-") {
			return true
		}
	}
	if end < len(text) {
		c := text[end]
		if c == '_' || isWord(c) || (c == '-' || c == '.') && end+1 < len(text) && isWord(text[end+1]) {
			return true
		}
	}
	return false
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func isDigit(s string, i int) bool { return i < len(s) && s[i] >= '0' && s[i] <= '9' }

func onlyDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

func atoi(s string) int {
	n := 0
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	return n
}
