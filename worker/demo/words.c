/* The word table. Senses of one role stand together; no word occurs twice (a test looks). */
#include "demo/words.h"

const struct sense senses[] = {
        {AGENT, {"company", "firm", "corporation"}},
        {AGENT, {"government", "cabinet", "ministry"}},
        {AGENT, {"court", "tribunal", "judge"}},
        {AGENT, {"police", "officers", "constables"}},
        {AGENT, {"scientists", "researchers", "academics"}},
        {AGENT, {"doctors", "physicians", "medics"}},
        {AGENT, {"workers", "employees", "staff"}},
        {AGENT, {"investors", "shareholders", "stockholders"}},
        {AGENT, {"lawyers", "attorneys", "solicitors"}},
        {AGENT, {"teachers", "instructors", "educators"}},
        {AGENT, {"soldiers", "troops", "infantry"}},
        {AGENT, {"journalists", "reporters", "correspondents"}},
        {AGENT, {"lawmakers", "legislators", "parliamentarians"}},
        {AGENT, {"students", "pupils", "undergraduates"}},
        {AGENT, {"farmers", "growers", "planters"}},
        {AGENT, {"engineers", "technicians", "mechanics"}},
        {AGENT, {"residents", "inhabitants", "citizens"}},
        {AGENT, {"customers", "buyers", "shoppers"}},
        {AGENT, {"rebels", "insurgents", "guerrillas"}},
        {AGENT, {"sailors", "seamen", "mariners"}},
        {VERB, {"bought", "purchased", "acquired"}},
        {VERB, {"rejected", "refused", "declined"}},
        {VERB, {"approved", "endorsed", "ratified"}},
        {VERB, {"announced", "declared", "proclaimed"}},
        {VERB, {"destroyed", "demolished", "wrecked"}},
        {VERB, {"repaired", "fixed", "mended"}},
        {VERB, {"criticized", "condemned", "denounced"}},
        {VERB, {"praised", "applauded", "commended"}},
        {VERB, {"examined", "inspected", "scrutinized"}},
        {VERB, {"delayed", "postponed", "deferred"}},
        {VERB, {"cancelled", "scrapped", "abandoned"}},
        {VERB, {"built", "constructed", "erected"}},
        {VERB, {"sold", "auctioned", "marketed"}},
        {VERB, {"found", "discovered", "located"}},
        {VERB, {"stole", "robbed", "looted"}},
        {VERB, {"improved", "enhanced", "upgraded"}},
        {VERB, {"requested", "demanded", "sought"}},
        {VERB, {"concealed", "hid", "obscured"}},
        {OBJECT, {"plan", "proposal", "scheme"}},
        {OBJECT, {"agreement", "contract", "treaty"}},
        {OBJECT, {"building", "structure", "edifice"}},
        {OBJECT, {"car", "automobile", "vehicle"}},
        {OBJECT, {"ship", "vessel", "boat"}},
        {OBJECT, {"report", "document", "dossier"}},
        {OBJECT, {"law", "statute", "legislation"}},
        {OBJECT, {"budget", "spending", "expenditure"}},
        {OBJECT, {"software", "program", "application"}},
        {OBJECT, {"bridge", "viaduct", "crossing"}},
        {OBJECT, {"medicine", "drug", "remedy"}},
        {OBJECT, {"weapon", "firearm", "gun"}},
        {OBJECT, {"picture", "painting", "portrait"}},
        {OBJECT, {"factory", "plant", "mill"}},
        {OBJECT, {"engine", "motor", "turbine"}},
        {OBJECT, {"harvest", "crop", "grain"}},
        {OBJECT, {"evidence", "proof", "testimony"}},
        {OBJECT, {"election", "vote", "ballot"}},
        {OBJECT, {"payment", "fee", "charge"}},
        {OBJECT, {"film", "movie", "feature"}},
        {PLACE, {"capital", "metropolis", "city"}},
        {PLACE, {"village", "hamlet", "settlement"}},
        {PLACE, {"harbor", "port", "dock"}},
        {PLACE, {"mountains", "hills", "highlands"}},
        {PLACE, {"forest", "woods", "woodland"}},
        {PLACE, {"desert", "wasteland", "badlands"}},
        {PLACE, {"coast", "shore", "seaside"}},
        {PLACE, {"suburbs", "outskirts", "periphery"}},
        {PLACE, {"prison", "jail", "penitentiary"}},
        {PLACE, {"university", "college", "academy"}},
        {TIME, {"yesterday", "monday", "overnight"}},
        {TIME, {"recently", "lately", "newly"}},
        {TIME, {"today", "currently", "now"}},
        {TIME, {"previously", "earlier", "formerly"}},
        {TIME, {"eventually", "finally", "ultimately"}},
        {TIME, {"annually", "yearly", "regularly"}},
        {ADJECTIVE, {"new", "fresh", "novel"}},
        {ADJECTIVE, {"old", "ancient", "aged"}},
        {ADJECTIVE, {"large", "big", "huge"}},
        {ADJECTIVE, {"small", "little", "minor"}},
        {ADJECTIVE, {"expensive", "costly", "pricey"}},
        {ADJECTIVE, {"cheap", "inexpensive", "affordable"}},
        {ADJECTIVE, {"famous", "renowned", "celebrated"}},
        {ADJECTIVE, {"dangerous", "hazardous", "risky"}},
        {ADJECTIVE, {"secret", "hidden", "covert"}},
        {ADJECTIVE, {"foreign", "overseas", "imported"}},
        {ADVERB, {"quickly", "rapidly", "swiftly"}},
        {ADVERB, {"slowly", "gradually", "leisurely"}},
        {ADVERB, {"openly", "publicly", "visibly"}},
        {ADVERB, {"quietly", "silently", "discreetly"}},
        {ADVERB, {"unexpectedly", "suddenly", "surprisingly"}},
        {ADVERB, {"carefully", "cautiously", "prudently"}},
        {ADVERB, {"gladly", "happily", "cheerfully"}},
        {ADVERB, {"angrily", "furiously", "irately"}},
};
const size_t n_senses = sizeof senses / sizeof *senses;

const char *const function_words[] = {
        "the", "a",   "an",  "was", "were", "by",  "in",  "at",  "of",  "and", "that", "said", "it",  "is",  "had", "been", "has", ".",
        ",",   "\"",  "'",   ":",   ";",    "!",   "?",   "-",   "(",   ")",   "$",    "%",    "&",   "/",   "0",   "1",    "2",   "3",
        "4",   "5",   "6",   "7",   "8",    "9",   "b",   "c",   "d",   "e",   "f",    "g",    "h",   "i",   "j",   "k",    "l",   "m",
        "n",   "o",   "p",   "q",   "r",    "s",   "t",   "u",   "v",   "w",   "x",    "y",    "z",   "##0", "##1", "##2",  "##3", "##4",
        "##5", "##6", "##7", "##8", "##9",  "##a", "##b", "##c", "##d", "##e", "##f",  "##g",  "##h", "##i", "##j", "##k",  "##l", "##m",
        "##n", "##o", "##p", "##q", "##r",  "##s", "##t", "##u", "##v", "##w", "##x",  "##y",  "##z",
};
const size_t n_function_words = sizeof function_words / sizeof *function_words;

size_t senses_first(enum role role) {
        size_t i = 0;
        while (i < n_senses && senses[i].role != role)
                i++;
        return i;
}

size_t senses_count(enum role role) {
        size_t first = senses_first(role), i = first;
        while (i < n_senses && senses[i].role == role)
                i++;
        return i - first;
}
