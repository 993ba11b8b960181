// Light, dark, or what the system says.

const byId = id => document.getElementById(id);
const THEMES = ['auto', 'light', 'dark'];

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId('theme-button').textContent = `Theme: ${theme}`;
  try { localStorage.setItem('opweave-theme', theme); } catch { /* a page from a file may have none */ }
}

function connectTheme() {
  byId('theme-button').addEventListener('click', () => {
    const now = document.documentElement.dataset.theme ?? 'auto';
    setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  });
  let theme = 'auto';
  try { theme = localStorage.getItem('opweave-theme') ?? 'auto'; } catch { /* as in setTheme */ }
  if (THEMES.includes(theme)) setTheme(theme);
}
