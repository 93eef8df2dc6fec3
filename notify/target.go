package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

// Target is somebody to tell: one element of the file that --notify names.
type Target struct {
	Name string `json:"name"`
	Type string `json:"type"` // slack, teams, webhook
	// URL is where to POST to. For Slack and Teams it is a secret by itself: give URLFile, a file that holds it, instead.
	URL     string `json:"url,omitempty"`
	URLFile string `json:"url_file,omitempty"`
	// SecretFile holds the secret that a plain webhook's bodies are signed with.
	SecretFile string `json:"secret_file,omitempty"`
	// Kinds are what to tell: generation, refusal, drift, hold. None means all.
	Kinds []string `json:"kinds,omitempty"`
	// Template makes the text (text/template over a Message). None means the one that suits the kind.
	Template string `json:"template,omitempty"`

	url    string
	secret []byte
	text   *template.Template
}

var (
	targetName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)
	allKinds   = []string{Generation, Refusal, Drift, Hold}
)

// ParseTargets reads targets from JSON, a list of [Target]. Unknown members are errors.
func ParseTargets(file string, src []byte) ([]Target, error) {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.DisallowUnknownFields()
	var all []Target
	if err := dec.Decode(&all); err != nil {
		return nil, fmt.Errorf("reading the notification targets in %s: %w", file, err)
	}
	var names []string
	for i := range all {
		if slices.Contains(names, all[i].Name) {
			return nil, fmt.Errorf("reading the notification targets in %s: two are called %q", file, all[i].Name)
		}
		names = append(names, all[i].Name)
	}
	return all, nil
}

// check reads what the target's files hold, and finds what is wrong.
func (t *Target) check() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("notification target %q: %w", t.Name, fmt.Errorf(format, args...))
	}
	if !targetName.MatchString(t.Name) {
		return wrong("a name has lower-case letters, digits and dashes, at most 31")
	}
	if !slices.Contains([]string{"slack", "teams", "webhook"}, t.Type) {
		return wrong("type %q is not slack, teams or webhook", t.Type)
	}
	for _, k := range t.Kinds {
		if !slices.Contains(allKinds, k) {
			return wrong("kind %q is none of %s", k, strings.Join(allKinds, ", "))
		}
	}
	t.url = t.URL
	if t.URLFile != "" {
		src, err := os.ReadFile(t.URLFile)
		if err != nil {
			return wrong("reading its address: %w", err)
		}
		t.url = strings.TrimSpace(string(src))
	}
	u, err := url.Parse(t.url)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return wrong("want an address https://… in url or url_file")
	}
	if t.SecretFile != "" {
		if t.Type != "webhook" {
			return wrong("only plain webhooks are signed")
		}
		src, err := os.ReadFile(t.SecretFile)
		if err != nil {
			return wrong("reading its secret: %w", err)
		}
		if t.secret = bytes.TrimSpace(src); len(t.secret) < 16 {
			return wrong("the secret has fewer than 16 characters")
		}
	}
	if t.Template != "" {
		if t.text, err = template.New(t.Name).Option("missingkey=error").Parse(t.Template); err != nil {
			return wrong("reading its template: %w", err)
		}
		if err := t.text.Execute(&bytes.Buffer{}, Message{}); err != nil {
			return wrong("trying its template: %w", err)
		}
	}
	return nil
}

func (t *Target) wants(kind string) bool { return len(t.Kinds) == 0 || slices.Contains(t.Kinds, kind) }

// redact takes the address out of an error: for Slack and Teams it is the secret.
func (t *Target) redact(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), t.url, "(its address)"))
}

const maxText = 3000 // Slack cuts at 4000

// render makes the body that the target takes.
func (t *Target) render(m Message) ([]byte, error) {
	if t.text != nil {
		var b strings.Builder
		if err := t.text.Execute(&b, m); err != nil {
			return nil, fmt.Errorf("making the text: %w", err)
		}
		m.Text = b.String()
	}
	if len(m.Text) > maxText {
		m.Text = strings.ToValidUTF8(m.Text[:maxText], "") + "…"
	}
	type object = map[string]any
	switch t.Type {
	case "slack":
		// https://api.slack.com/reference/surfaces/formatting#escaping: nothing that an author writes becomes a mention or a link.
		plain := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
		text := "*" + strings.ReplaceAll(plain.Replace(m.Title), "*", "") + "*\n" + plain.Replace(m.Text)
		if m.Link != "" {
			text += "\n<" + m.Link + "|Open the console>"
		}
		return json.Marshal(object{"text": text, "unfurl_links": false})
	case "teams":
		// An Adaptive Card, as Teams' workflows take it. A TextBlock knows links in brackets: those that an author writes stay text.
		plain := strings.NewReplacer("[", "\\[", "]", "\\]", "<", "&lt;")
		card := object{"type": "AdaptiveCard", "version": "1.4", "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "body": []object{
			{"type": "TextBlock", "text": plain.Replace(m.Title), "weight": "Bolder", "wrap": true},
			{"type": "TextBlock", "text": plain.Replace(m.Text), "wrap": true},
		}}
		if m.Link != "" {
			card["actions"] = []object{{"type": "Action.OpenUrl", "title": "Open the console", "url": m.Link}}
		}
		return json.Marshal(object{"type": "message", "attachments": []object{{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}}})
	}
	return json.Marshal(m)
}
