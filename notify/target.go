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

const maxText = 3000

// render makes the body that the target takes.
func (t *Target) render(m Message) ([]byte, error) {
	if t.text != nil {
		var b strings.Builder
		if err := t.text.Execute(&b, m); err != nil {
			return nil, fmt.Errorf("making the text: %w", err)
		}
		m.Text = b.String()
	}
	m.Text = cut(strings.TrimSpace(m.Text), maxText, nil)
	switch t.Type {
	case "slack":
		return json.Marshal(slackMessage(m))
	case "teams":
		return json.Marshal(teamsMessage(m))
	}
	return json.Marshal(m)
}

type object = map[string]any

// slackMessage is what an incoming webhook takes: blocks, and the text that notifications on a phone show in their place.
//
// docs.slack.dev/messaging/formatting-message-text: "&", "<" and ">" are escaped, so that nothing an author writes becomes a
// mention or a link; "verbatim" keeps bare addresses and names of channels from becoming one. A header holds 150 characters, a
// section 3000.
func slackMessage(m Message) object {
	blocks := []object{{"type": "header", "text": object{"type": "plain_text", "text": cut(m.Title, 150, nil), "emoji": false}}}
	if m.Text != "" {
		blocks = append(blocks, object{"type": "section", "text": object{"type": "mrkdwn", "text": cut(m.Text, 3000, escapeSlack), "verbatim": true}})
	}
	if m.Link != "" {
		blocks = append(blocks, object{"type": "context", "elements": []object{{"type": "mrkdwn", "text": "<" + m.Link + "|Open the console>", "verbatim": true}}})
	}
	return object{"text": cut(m.Title, 150, escapeSlack), "blocks": blocks, "unfurl_links": false, "unfurl_media": false}
}

func escapeSlack(r rune) string {
	switch r {
	case '&':
		return "&amp;"
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	}
	return string(r)
}

// teamsMessage is what Teams' workflows take: a message with one Adaptive Card. Each line is a block of its own, for a TextBlock
// wants two newlines for one and clients differ in that; and it is a TextRun, which knows no Markdown: what an author writes is
// neither a link nor a format.
func teamsMessage(m Message) object {
	run := func(text string, more object) object {
		inline := object{"type": "TextRun", "text": text}
		for k, v := range more {
			inline[k] = v
		}
		return object{"type": "RichTextBlock", "spacing": "Small", "inlines": []object{inline}}
	}
	const mostLines = 50 // a message has 28 KB
	body := []object{run(cut(m.Title, 150, nil), object{"weight": "Bolder", "size": "Medium"})}
	for line := range strings.Lines(m.Text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if len(body) > mostLines {
			body = append(body, run("…", nil))
			break
		}
		body = append(body, run(line, nil))
	}
	card := object{"type": "AdaptiveCard", "version": "1.4", "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "body": body, "msteams": object{"width": "Full"}}
	if m.Link != "" {
		card["actions"] = []object{{"type": "Action.OpenUrl", "title": "Open the console", "url": m.Link}}
	}
	return object{"type": "message", "attachments": []object{{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil, "content": card}}}
}

// cut is text in at most so many characters once each is written by escape (nil: as it is), with "…" where it was longer.
func cut(text string, most int, escape func(rune) string) string {
	if escape == nil {
		escape = func(r rune) string { return string(r) }
	}
	var b strings.Builder
	used, room := 0, 0 // room is the length of b up to where the ellipsis still fits
	for _, r := range text {
		s := escape(r)
		n := len([]rune(s))
		if used+n > most {
			return b.String()[:room] + "…"
		}
		b.WriteString(s)
		if used += n; used < most {
			room = b.Len()
		}
	}
	return b.String()
}
