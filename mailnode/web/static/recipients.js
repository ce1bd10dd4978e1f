// A field of recipients: what is typed is judged in the server's own words, and completed.

const JUDGE_MS = 2000, LEFT_MS = 100, OFFER_MS = 200;

// ask(path): what the server answers. tell(name, words): shows what is wrong.
export function watch(name, ask, tell) {
  const input = document.getElementById(name), offered = document.getElementById(`people-${name}`);
  let judging = 0, offering = 0, asked = "";
  const judge = async () => {
    const said = input.value.trim();
    if (said === asked) return;
    asked = said;
    if (!said) { tell(name, []); return; }
    try {
      const told = await ask(`/write/address?text=${encodeURIComponent(said)}`);
      if (input.value.trim() === said) tell(name, told.faults);
    } catch (error) {
      if (error.status !== 429) asked = "";
    }
  };
  const offer = async () => {
    const cut = Math.max(input.value.lastIndexOf(","), input.value.lastIndexOf(";")) + 1;
    const before = input.value.slice(0, cut), last = input.value.slice(cut).trim();
    if (last.length < 1 || /[<>]/.test(last)) { offered.replaceChildren(); return; }
    try {
      const told = await ask(`/write/people?text=${encodeURIComponent(last)}`);
      offered.replaceChildren(...told.people.map((each) => {
        const option = document.createElement("option");
        const quoted = /[,;<>"@()\\]/.test(each.name) ? `"${each.name.replace(/["\\]/g, "\\$&")}"` : each.name;
        option.value = `${before}${before ? " " : ""}${each.name ? `${quoted} <${each.address}>` : each.address}`;
        return option;
      }));
    } catch { /* typing goes on without */ }
  };
  input.addEventListener("input", () => {
    tell(name, []);
    clearTimeout(judging);
    clearTimeout(offering);
    judging = setTimeout(judge, JUDGE_MS);
    offering = setTimeout(offer, OFFER_MS);
  });
  input.addEventListener("change", () => { clearTimeout(judging); judging = setTimeout(judge, LEFT_MS); });
}
