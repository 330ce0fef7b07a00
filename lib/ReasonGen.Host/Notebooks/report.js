// What the page does where scripts run. Without them it has its contents, its code and every drawing all the same.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const [nav, menu, fold] = [document.querySelector('nav'), document.getElementById('menu'), document.getElementById('fold')];
  document.documentElement.classList.add('js');

  // the contents: a menu on narrow screens
  const open = yes => { nav.classList.toggle('open', yes); menu.setAttribute('aria-expanded', yes); };
  menu.hidden = false;
  menu.onclick = () => open(!nav.classList.contains('open'));
  nav.addEventListener('click', event => { if (event.target.closest('a')) open(false); });
  addEventListener('keydown', event => { if (event.key === 'Escape' && nav.classList.contains('open')) { open(false); menu.focus(); } });

  // where the reader is
  const links = new Map(all('#contents a').map(link => [decodeURIComponent(link.hash.slice(1)), link]));
  const places = [...links.keys()].map(id => document.getElementById(id)).filter(Boolean);
  let marked = [];
  const mark = () => {
    const root = document.documentElement, atEnd = innerHeight + scrollY >= root.scrollHeight - 2;
    const passed = places.filter(place => place.getBoundingClientRect().top < (atEnd ? innerHeight : 130));
    const here = passed.at(-1) ?? places[0];
    const link = links.get(here.id), chapter = link.closest('#contents > ol > li');
    const now = [link, chapter.firstElementChild];
    if (marked[0] === link) return;
    marked.forEach(old => { old.removeAttribute('aria-current'); old.closest('#contents > ol > li').classList.remove('current'); });
    now.forEach(one => one.setAttribute('aria-current', one === link ? 'location' : 'true'));
    chapter.classList.add('current');
    if (getComputedStyle(nav).position === 'fixed') {
      const [top, bottom] = [link.getBoundingClientRect().top, link.getBoundingClientRect().bottom];
      if (top < 60 || bottom > innerHeight - 40) nav.scrollBy({ top: top - innerHeight / 3, behavior: 'instant' });
    }
    marked = now;
  };
  let waiting = false;
  addEventListener('scroll', () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; mark(); }); } }, { passive: true });
  mark();

  // code
  fold.hidden = false;
  fold.onclick = () => {
    const folded = fold.textContent.startsWith('Fold');
    all('details.code').forEach(code => { code.open = !folded; });
    fold.textContent = folded ? 'Unfold all code' : 'Fold all code';
    mark();
  };

  // drawings become interactive charts as they come into view; a drawing stays when anything goes wrong
  if (!window.Plotly) return;
  const dark = matchMedia('(prefers-color-scheme: dark)'), narrow = matchMedia('(max-width: 600px)');
  const colors = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#7F7F7F'];
  const layoutOf = (own, series) => {
    const css = getComputedStyle(document.documentElement), [ink, faint, line, paper] = ['--ink', '--faint', '--line', '--paper'].map(name => css.getPropertyValue(name).trim());
    const axis = given => ({ ...given, title: { text: given?.title?.text ?? '', font: { size: 13 }, standoff: 8 }, gridcolor: line, linecolor: faint, zerolinecolor: line, automargin: true });
    const below = narrow.matches ? 18 * Math.max(0, series - 2) : 0;
    return { ...own, template: null, width: undefined, height: (narrow.matches ? 300 : 350) + below, autosize: true, barmode: 'group', bargap: 0.25, title: undefined,
      margin: { l: 8, r: narrow.matches ? 26 : 12, t: series > 1 ? 40 : 16, b: 8 },
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink }, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', colorway: [...colors, ink],
      showlegend: series > 1, legend: { orientation: 'h', x: 0, y: 1.02, yanchor: 'bottom', bgcolor: 'rgba(0,0,0,0)' }, hovermode: 'x unified', hoverlabel: { bgcolor: paper, bordercolor: line },
      xaxis: axis(own.xaxis), yaxis: axis(own.yaxis), modebar: { bgcolor: 'rgba(0,0,0,0)', color: faint, activecolor: ink } };
  };
  const drawn = new Map();
  const draw = figure => {
    const still = figure.querySelector('.rg-static'), host = document.createElement('div');
    try {
      const data = JSON.parse(figure.querySelector('.rg-plotly').textContent);
      const title = still?.querySelector('svg')?.getAttribute('aria-label') ?? data.layout?.title?.text ?? '';
      const style = () => layoutOf(data.layout ?? {}, data.data.length);
      host.className = 'rg-live';
      host.setAttribute('role', 'group');
      host.setAttribute('aria-label', title + ', interactive');
      const heading = document.createElement('p');
      heading.className = 'rg-title';
      heading.textContent = title;
      host.append(heading, document.createElement('div'));
      figure.appendChild(host);
      const config = { responsive: true, displaylogo: false, displayModeBar: narrow.matches ? false : 'hover', modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d'], scrollZoom: false };
      Plotly.newPlot(host.lastChild, data.data, style(), config).then(() => { if (still) still.hidden = true; drawn.set(host.lastChild, style); }, () => host.remove());
    } catch { host.remove(); }
  };
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: '500px' });
  all('.rg-figure').filter(figure => figure.querySelector('.rg-plotly')).forEach(figure => seen.observe(figure));
  const restyle = () => drawn.forEach((style, host) => Plotly.relayout(host, style()));
  dark.addEventListener('change', restyle);
  narrow.addEventListener('change', restyle);
})();
