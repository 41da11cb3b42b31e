# SPDX-License-Identifier: Apache-2.0
# What the dialogue domain talks about.
ADVICE = {
    "sleep better": ("go to bed at the same time every day", "keep the room dark and cool", "avoid coffee in the evening",
                     "put the phone away an hour before", "take a short walk after dinner", "read a few pages of a calm book"),
    "learn a language": ("practice a little every day", "listen to songs and stories", "speak with people who know it",
                         "write down new words", "read simple books aloud", "be patient with mistakes"),
    "save money": ("write down what you spend", "cook at home more often", "compare prices before you buy",
                   "set a small sum aside each week", "repair things instead of buying new ones", "avoid shopping when you are hungry"),
    "stay healthy": ("drink enough water", "eat fruit and vegetables", "move for half an hour a day", "sleep for eight hours",
                     "take breaks from the screen", "spend time with friends"),
    "study for a test": ("start a few days early", "make a short summary of each topic", "explain the topic to a friend",
                         "take regular breaks", "solve old tests", "sleep well the night before"),
    "grow tomatoes": ("choose a sunny place", "water the plants in the morning", "tie the plants to a stick",
                      "remove the small side shoots", "use rich soil", "pick the fruit when it is red"),
    "write a story": ("choose one main person", "decide what this person wants", "begin in the middle of the action",
                      "use simple words", "read the text aloud", "let a friend read it"),
    "run faster": ("warm up before you start", "run short and fast rounds once a week", "wear good shoes", "rest for a day after hard training",
                   "keep your back straight", "increase the distance slowly"),
    "make new friends": ("join a club near you", "smile and ask questions", "listen carefully", "invite people for tea",
                         "remember the names of people", "offer your help"),
    "clean the kitchen": ("wash the dishes first", "wipe the table with warm water", "sweep the floor at the end", "take out the trash",
                          "open the window", "put each thing in its place"),
    "learn to draw": ("draw a little every day", "begin with simple shapes", "look closely at real things", "use a soft pencil",
                      "copy pictures that you like", "keep your old drawings"),
    "bake bread": ("use fresh yeast", "let the dough rest in a warm place", "heat the oven early", "put a cup of water in the oven",
                   "knead the dough for ten minutes", "let the bread cool before you cut it"),
    "take good photos": ("look for soft light", "hold the camera still", "go closer to the subject", "keep the background simple",
                         "try different angles", "take more than one picture"),
    "give a talk": ("practice in front of a mirror", "begin with a short story", "speak slowly", "look at the people", "use few words on each slide",
                    "end with one clear message"),
    "relax after work": ("listen to quiet music", "take a warm bath", "go for a walk", "call a good friend", "cook something simple", "stretch for ten minutes"),
    "care for a dog": ("go for a walk twice a day", "give fresh water", "train with small rewards", "visit the vet once a year",
                       "brush the fur", "play with a ball"),
    "pack a suitcase": ("make a list first", "roll your clothes", "put heavy things at the bottom", "leave some free space",
                        "keep your papers at hand", "check the weather at your goal"),
    "play chess": ("control the center", "bring out your knights early", "keep your king safe", "think about the plan of the other side",
                   "solve small puzzles", "look at your old games")}
FOODS = ("rice beans eggs tomatoes potatoes onions carrots cheese mushrooms spinach chicken fish pasta peppers corn peas cabbage beef lentils "
         "tofu pumpkin leeks ham salmon apples lemons bread butter milk honey nuts yogurt").split()
DISHES = {
    "soup": "Cook {one} in water for twenty minutes, add {two}, and season with salt.",
    "salad": "Cut {one} and {two} into small pieces and mix them with oil and lemon juice.",
    "stew": "Fry {one} in a pot, add {two} and some water, and let it cook slowly for an hour.",
    "pie": "Fill the dough with {one} and {two} and bake it for forty minutes.",
    "curry": "Fry {one} with spices, add {two} and coconut milk, and cook it for fifteen minutes.",
    "omelet": "Fry {one} in a pan, add {two}, and pour beaten eggs over it.",
    "sandwich": "Put {one} and {two} between two slices of bread and toast it.",
    "casserole": "Put {one} and {two} in layers, cover them with cheese, and bake it until it is brown.",
    "pizza": "Put {one} and {two} on the dough and bake it in a very hot oven.",
    "wrap": "Roll {one} and {two} into a flat bread and add some sauce."}
DRINKS = ("cold water", "green tea", "apple juice", "lemonade", "hot tea", "orange juice", "mint tea", "tomato juice", "ginger tea", "grape juice")
EVENTS = {
    "my birthday party": "There will be cake and music.", "a garden party": "We will sit under the old trees.",
    "a movie night": "You can choose the film.", "a dinner at my house": "I will cook for all of us.",
    "a picnic in the park": "Please bring a blanket.", "a concert in the town hall": "The band is very good.",
    "a game night": "We will play cards and chess.", "the opening of my shop": "There will be small gifts.",
    "a book club meeting": "We will talk about a new story.", "a hike to the lake": "Please wear good shoes.",
    "a dance class": "No one needs to know the steps.", "a school play": "The children worked hard for it.",
    "a wedding": "It will be a small party with friends.", "a farewell party": "We want to say goodbye to a good friend.",
    "a football match": "We need every voice.", "a barbecue": "There will be food for everyone."}
GIFTS = "book scarf vase lamp cake painting plant mug necklace watch puzzle candle blanket hat clock kite camera bag".split()
REASONS = ("I was late", "I forgot your birthday", "I lost your book", "I broke your cup", "I missed our meeting", "I did not call you",
           "I was so loud", "I ate the last cake", "I did not answer your letter", "I forgot the tickets", "I was in a bad mood",
           "I left without a word", "I told your secret", "I could not help you")
HOBBIES = ("chess", "painting", "gardening", "hiking", "music", "cooking", "reading", "swimming", "dancing", "photography", "sailing", "knitting",
           "running", "baking", "fishing", "singing")
HOBBY_GIFTS = {
    "chess": "a wooden chess board", "painting": "a set of brushes", "gardening": "a bag of flower seeds", "hiking": "a warm pair of socks",
    "music": "a ticket for a concert", "cooking": "a sharp knife", "reading": "a new novel", "swimming": "a soft towel",
    "dancing": "a pair of light shoes", "photography": "a frame for pictures", "sailing": "a map of the coast", "knitting": "a ball of fine wool",
    "running": "a bottle for water", "baking": "a tin for cakes", "fishing": "a folding chair", "singing": "a book of songs"}
WEATHER = {
    "rainy": ("a raincoat and rubber boots", "visit a museum or read a book"), "sunny": ("light clothes and a hat", "have a picnic or swim in a lake"),
    "cold": ("a thick coat, a scarf and gloves", "drink hot tea and bake a cake"), "windy": ("a jacket that closes well", "fly a kite"),
    "snowy": ("warm boots and a wool hat", "build a snowman"), "hot": ("thin clothes and sunglasses", "stay in the shade and eat ice cream"),
    "foggy": ("a bright jacket", "stay near home and listen to music"), "stormy": ("nothing special and stay at home", "play a board game inside"),
    "cloudy": ("a sweater and a light jacket", "go for a long walk"), "icy": ("shoes with a good grip", "watch the frozen lake")}
PLACES = ("the park", "the beach", "the city", "the mountains", "the market", "the lake", "the forest", "the garden", "the harbor", "the village",
          "the zoo", "the station", "the library", "the old bridge")
ACTIVITIES = ("wash the car", "visit my aunt", "go swimming", "read a book", "clean the house", "write a letter", "bake a cake", "call my brother",
              "water the plants", "buy new shoes", "play tennis", "watch a film", "repair the bike", "cook dinner", "learn some words",
              "walk the dog", "paint the fence", "see the doctor", "practice the piano", "meet a friend", "tidy my desk", "go to the bank")
REQUESTS = {
    "give me": ("the salt", "the book", "a cup of tea", "the keys", "your address", "a pen", "the report", "some water"),
    "close": ("the door", "the window", "the box", "the book", "the gate", "the lid"),
    "open": ("the door", "the window", "the letter", "the bottle", "the gate", "the shop"),
    "send me": ("the file", "a photo", "the letter", "the list", "the bill", "your number"),
    "clean": ("the table", "the kitchen", "your room", "the car", "the board", "the floor"),
    "bring me": ("the newspaper", "a chair", "the menu", "my coat", "some bread", "the bill"),
    "help me with": ("my homework", "the dishes", "the garden", "this box", "the cooking", "my bike"),
    "tell me": ("the time", "your name", "the truth", "the price", "a story", "the way"),
    "turn off": ("the light", "the radio", "the oven", "the music", "the fan", "the phone")}
OPPOSITES = [pair.split() for pair in (
    "hot cold", "big small", "fast slow", "high low", "light dark", "old new", "happy sad", "full empty", "hard soft", "long short", "loud quiet",
    "rich poor", "strong weak", "early late", "open closed", "clean dirty", "dry wet", "near far", "thick thin", "easy difficult", "left right",
    "true false", "young old", "up down", "good bad", "wide narrow", "sweet sour", "deep shallow")]
PLURALS = [pair.split() for pair in (
    "child children", "mouse mice", "foot feet", "tooth teeth", "goose geese", "man men", "woman women", "leaf leaves", "knife knives", "box boxes",
    "city cities", "baby babies", "wolf wolves", "bus buses", "dish dishes", "sheep sheep", "potato potatoes", "cat cats", "house houses", "day days")]
ANIMALS = {
    "cat": "sleeps most of the day and hunts mice", "dog": "has a very good nose and likes company", "horse": "can sleep while it stands",
    "owl": "hunts at night and flies without a sound", "bee": "makes honey and lives with thousands of others", "whale": "is the largest animal of the sea",
    "fox": "has a thick tail and hunts alone", "frog": "begins its life in the water", "elephant": "is the heaviest animal on land",
    "penguin": "cannot fly but swims very well", "spider": "has eight legs and builds a web", "turtle": "carries its shell and can live very long",
    "camel": "can live without water for days", "wolf": "lives in a pack", "bat": "finds its way with sound", "giraffe": "has the longest neck of all",
    "rabbit": "lives under the ground and eats plants", "duck": "swims well and has oily feathers"}
GROUPS = {
    "colors": "red blue green yellow white black".split(), "fruits": "apples pears plums cherries grapes bananas".split(),
    "animals": "cats dogs horses cows sheep foxes".split(), "tools": "a hammer,a saw,a drill,a file,a screwdriver".split(","),
    "planets": "Mercury Venus Earth Mars Jupiter Saturn".split(), "instruments": "the piano,the violin,the flute,the drum,the guitar".split(","),
    "seasons": "spring summer autumn winter".split(), "sports": "tennis football hockey swimming running".split(),
    "trees": "oak pine birch maple willow".split(), "rivers": "the Nile,the Rhine,the Danube,the Amazon".split(","),
    "vegetables": "carrots onions peas beans leeks".split(), "flowers": "roses tulips lilies daisies violets".split()}
MIXES = (("red", "blue", "purple"), ("blue", "red", "purple"), ("red", "yellow", "orange"), ("yellow", "red", "orange"), ("blue", "yellow", "green"),
         ("yellow", "blue", "green"), ("black", "white", "gray"), ("white", "black", "gray"), ("red", "white", "pink"), ("white", "red", "pink"))
MOODS = {
    "tired": "Take a break and get some rest. A short walk can help too.", "happy": "That is wonderful to hear! Enjoy the moment.",
    "sad": "I am sorry to hear that. A talk with a good friend may help.", "nervous": "Take a deep breath. It will go better than you think.",
    "bored": "Why not try something new? A puzzle or a walk could be fun.", "angry": "Take your time and count to ten. Then talk about it calmly.",
    "proud": "That is great! You worked hard for it.", "lonely": "You are not alone. Call someone who makes you smile.",
    "lazy": "A quiet day is fine now and then. Tomorrow is a new day.", "hungry": "Have a warm meal or some fruit. Then you will feel better.",
    "excited": "How nice! I hope it will be a great day.", "worried": "It helps to write down what troubles you. Take one step at a time."}
