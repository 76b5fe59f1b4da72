"""What the page of a test run looks like, and the few lines that search in it.

The one rule: colour never says anything alone, light or dark or printed; the page is whole without the script.
"""

STYLE = """
:root{color-scheme:light dark;--page:#fff;--card:#f6f8fa;--line:#d0d7de;--text:#1f2328;--quiet:#59636e;--link:#0969da;
--passed:#1a7f37;--failed:#cf222e;--broken:#8250df;--skipped:#9a6700;--wrong:#ffebe9;
--client:#2f6feb;--server:#1b7c83;--arrival:#bc4c00}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--card:#151b23;--line:#3d444d;--text:#f0f6fc;--quiet:#9198a1;
--link:#4493f8;--passed:#3fb950;--failed:#f85149;--broken:#ab7df8;--skipped:#d29922;--wrong:#3b1719;
--client:#4c8df6;--server:#39a7af;--arrival:#db6d28}}
*{box-sizing:border-box}
html{scroll-padding-top:4.5rem}
body{margin:0;overflow-wrap:anywhere;background:var(--page);color:var(--text);
font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}
header,main{max-width:1180px;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.5rem;border-bottom:1px solid var(--line)}
h1{font-size:1.75rem;line-height:1.2;margin:.1rem 0 .3rem}
h2{font-size:1.25rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1rem 0 .4rem}
h4{font-size:.95rem;margin:1rem 0 .25rem}
h5{font-size:.85rem;margin:.75rem 0 .25rem;color:var(--quiet);font-weight:600}
p{margin:.25rem 0}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:4px}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--page);border:1px solid var(--line);border-radius:6px;padding:.5rem .75rem;margin:.25rem 0;
overflow:auto;max-height:22rem;white-space:pre-wrap}
.command{user-select:all}
.brand,.quiet{color:var(--quiet);font-size:.85rem}
.good h1 span{color:var(--passed)}.bad h1 span{color:var(--failed)}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--page);padding:.25rem .5rem}
.strip{display:block;border-radius:6px;margin:.75rem 0 .4rem;background:var(--line)}
rect.passed{fill:var(--passed)}rect.failed{fill:var(--failed)}
rect.broken{fill:var(--broken)}rect.skipped{fill:var(--skipped)}
.counts{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:0 0 .75rem;padding:0}
.counts .passed b{color:var(--passed)}.counts .failed b{color:var(--failed)}
.counts .broken b{color:var(--broken)}.counts .skipped b{color:var(--skipped)}
header dl{display:flex;flex-wrap:wrap;gap:.25rem 2rem;margin:0}
header dl div{display:flex;align-items:baseline;gap:.5rem}
header dt{flex:none;max-width:60%}
dt{color:var(--quiet);font-size:.85rem}
dd{margin:0}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;padding:.75rem 0}
.scroll{overflow:auto}
.drawing{max-height:80vh;border:1px solid var(--line);border-radius:8px;width:min(96vw,132rem);
margin-left:calc(50% - min(48vw,66rem))}
.drawing svg{display:block;margin:0 auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid var(--line);font-weight:400}
thead th{color:var(--quiet);font-size:.8rem;font-weight:600;white-space:nowrap}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
tr.wrong{background:var(--wrong)}
tr.wrong td:first-child,.expected tr.wrong td:last-child{font-weight:600}
.points{min-width:46rem}.points td:first-child{white-space:nowrap}
.filter{position:sticky;top:0;z-index:1;display:flex;flex-wrap:wrap;align-items:center;gap:.5rem 1rem;
background:var(--page);padding:.6rem 0;border-bottom:1px solid var(--line);margin-bottom:.5rem}
.filter[hidden]{display:none}
.filter fieldset{border:0;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:.25rem .9rem}
.aside{position:absolute;left:-99rem}
input[type=search]{font:inherit;width:16rem;max-width:60vw;padding:.25rem .5rem;color:inherit;background:var(--card);
border:1px solid var(--line);border-radius:6px}
button{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:6px;
padding:.25rem .75rem;cursor:pointer}
output{color:var(--quiet);font-size:.85rem;margin-left:auto}
.test{border:1px solid var(--line);border-left-width:4px;border-radius:6px;margin:.35rem 0;background:var(--card)}
.test.passed{border-left-color:var(--passed)}.test.failed{border-left-color:var(--failed)}
.test.broken{border-left-color:var(--broken)}.test.skipped{border-left-color:var(--skipped)}
.test:target{outline:2px solid var(--link)}
.test[hidden]{display:none}
.test>summary{display:flex;gap:.6rem;align-items:baseline;padding:.4rem .75rem;cursor:pointer;list-style:none}
.test>summary::-webkit-details-marker{display:none}
.test>summary .name{flex:1}
.test .sign,.test .outcome{font-weight:700}
.passed>summary .sign,.passed>summary .outcome{color:var(--passed)}
.failed>summary .sign,.failed>summary .outcome{color:var(--failed)}
.broken>summary .sign,.broken>summary .outcome{color:var(--broken)}
.skipped>summary .sign,.skipped>summary .outcome{color:var(--skipped)}
.test .outcome,.tag{font-size:.8rem}
.tag{color:var(--quiet);border:1px solid var(--line);border-radius:999px;padding:0 .5rem;white-space:nowrap}
.inside{padding:.25rem .9rem .9rem;border-top:1px solid var(--line)}
.inside>dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.15rem 1rem;margin:.5rem 0 .75rem}
.inside ol{margin:.25rem 0;padding-left:1.4rem}
.call{margin-top:.75rem;border-top:1px dashed var(--line)}
.more{margin:.4rem 0}
.more>summary{cursor:pointer;color:var(--link);font-size:.9rem}
.timeline{table-layout:fixed;min-width:46rem;background:var(--page);margin:.4rem 0}
.timeline th:nth-child(1){width:29%}.timeline th:nth-child(2){width:33%}.timeline th:nth-child(3){width:5.2rem}
.timeline th,.timeline td{padding:.2rem .6rem}
.axis span:last-child{float:right}
.branch{color:var(--quiet)}
.depth1{padding-left:1.6rem!important}.depth2{padding-left:2.6rem!important}.depth3{padding-left:3.6rem!important}
.depth4{padding-left:4.6rem!important}.depth5{padding-left:5.6rem!important}.depth6{padding-left:6.6rem!important}
.bar{display:block;background:linear-gradient(var(--line),var(--line)) 0 50%/100% 1px no-repeat;margin-top:.15rem}
.bar.client rect{fill:var(--client)}.bar.server rect{fill:var(--server)}.bar.internal rect{fill:var(--quiet)}
.bar.arrival rect{fill:var(--arrival)}
.wrong .bar rect{fill:var(--failed)}
.mark{color:var(--failed);white-space:nowrap}
@media(max-width:640px){
.tag,.test .outcome{display:none}.inside>dl{grid-template-columns:minmax(0,1fr)}dt{margin-top:.3rem}}
@media print{.drawing{width:auto;margin:0}.drawing svg{max-width:100%;height:auto}
.filter,nav,.skip,.inside a{display:none!important}
.drawing,pre{max-height:none;overflow:visible}.scroll{overflow:visible}
.test,tr,.call{break-inside:avoid}.test[open]{break-inside:auto}header,main{max-width:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""

SCRIPT = """
(() => {
  const form = document.querySelector('.filter'), search = document.querySelector('#search');
  const tests = [...document.querySelectorAll('.test')], shown = document.querySelector('#shown');
  const words = tests.map(one => one.textContent.toLowerCase());
  const unfold = document.querySelector('#unfold');
  const narrow = () => {
    const wanted = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    const kept = new Set([...form.querySelectorAll('[type=checkbox]:checked')].map(one => one.value));
    let count = 0;
    tests.forEach((one, index) => {
      one.hidden = !kept.has(one.dataset.outcome) || !wanted.every(word => words[index].includes(word));
      count += !one.hidden;
    });
    shown.textContent = `${count} of ${tests.length} shown`;
  };
  const open = () => {
    const one = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (one && one.matches('.test')) { one.hidden = false; one.open = true; one.scrollIntoView(); }
  };
  form.hidden = false;
  form.addEventListener('input', narrow);
  form.addEventListener('submit', event => event.preventDefault());
  unfold.addEventListener('click', () => {
    const all = unfold.textContent === 'Unfold all';
    tests.filter(one => !one.hidden).forEach(one => { one.open = all; });
    unfold.textContent = all ? 'Fold all' : 'Unfold all';
  });
  addEventListener('keydown', event => {
    if (event.key === '/' && !event.target.matches('input')) { event.preventDefault(); search.focus(); }
    if (event.key === 'Escape' && event.target === search) { search.value = ''; narrow(); }
  });
  addEventListener('beforeprint', () => tests.filter(one => one.matches('.failed, .broken')).forEach(
    one => { one.open = true; }));
  addEventListener('hashchange', open);
  narrow();
  open();
})();
"""
