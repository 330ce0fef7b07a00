// Turns the static drawings into interactive charts as they come into view; the drawing stays when anything goes wrong.
(() => {
  const draw = figure => {
    const data = JSON.parse(figure.querySelector('.rg-plotly').textContent);
    const still = figure.querySelector('.rg-static');
    const host = document.createElement('div');
    figure.appendChild(host);
    const title = still.querySelector('svg')?.getAttribute('aria-label') ?? '';
    const colors = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#7F7F7F', '#000000'];
    const layout = Object.assign({}, data.layout, { title: { text: title, font: { size: 15 } }, colorway: colors, template: null, width: undefined,
      height: 380, autosize: true, margin: { l: 64, r: 16, t: 44, b: 54 }, legend: { orientation: 'h', y: -0.2 }, barmode: 'group' });
    Plotly.newPlot(host, data.data, layout, { responsive: true, displaylogo: false }).then(() => { still.hidden = true; }, () => host.remove());
  };
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: '400px' });
  document.querySelectorAll('.rg-figure').forEach(figure => seen.observe(figure));
})();
